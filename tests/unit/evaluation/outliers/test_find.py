from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.config.outliers import OutliersConfig
from crossfold.evaluation.outliers.find import OUTLIER_COLUMNS, REASON_COLUMNS, find_outliers
from crossfold.evaluation.tables import write_table

CONFIG = OutliersConfig(worst=0)
Row = Callable[..., dict[str, object]]
Metrics = Callable[..., pd.DataFrame]


def outliers_of(
    metrics: pd.DataFrame, config: OutliersConfig = CONFIG, **inputs: pd.DataFrame
) -> pd.DataFrame:
    found = find_outliers(metrics, inputs.get("inspection"), inputs.get("compared"), config)
    outliers = found["outliers"]
    assert isinstance(outliers, pd.DataFrame)
    assert list(outliers) == OUTLIER_COLUMNS
    return outliers


def by_reason_of(metrics: pd.DataFrame, **inputs: pd.DataFrame) -> pd.DataFrame:
    by_reason = find_outliers(metrics, inputs.get("inspection"), inputs.get("compared"), CONFIG)[
        "by_reason"
    ]
    assert isinstance(by_reason, pd.DataFrame)
    assert list(by_reason) == REASON_COLUMNS
    return by_reason


def reasons(outliers: pd.DataFrame) -> list[str]:
    return sorted(set(outliers["reason"]))


def inspection_of(subject: str, **values: object) -> pd.DataFrame:
    whole = {
        "model": "Prostate",
        "split": "val",
        "fold": "0",
        "subject": subject,
        "structure": "prostate",
        "touches_border": False,
        "remote_component_mm": 0.0,
        "dice_swapped": np.nan,
        "partner": "",
    }
    return pd.DataFrame([whole | values])


def test_a_good_result_is_no_outlier(row: Row, metrics: Metrics) -> None:
    assert outliers_of(metrics(row("P1")), inspection=inspection_of("P1")).empty


@pytest.mark.parametrize(
    ("changes", "reason", "outlier_class", "value", "threshold", "severity"),
    [
        ({"n_components_pred": 5}, "extra_components", "hard", 5, 4, 0.25),
        ({"dice": 0.4}, "low_dice", "clinical", 0.4, 0.5, 0.2),
        ({"hd95_mm": 30.0}, "high_hd95", "clinical", 30, 20, 0.5),
        ({"volume_diff_ml": -30.0}, "wrong_volume", "clinical", -30, -25, 0.2),
        (
            {"volume_ref_ml": 2.0, "volume_diff_ml": 6.0},
            *("wrong_volume", "clinical", 6, 5, 0.2),
        ),
    ],
)
def test_reasons_of_one_result(
    row: Row,
    metrics: Metrics,
    changes: dict[str, float],
    reason: str,
    outlier_class: str,
    value: float,
    threshold: float,
    severity: float,
) -> None:
    outliers = outliers_of(metrics(row("P1", **changes), row("P2")))
    assert len(outliers) == 1
    found = outliers.iloc[0]
    assert found[["subject", "reason", "class"]].tolist() == ["P1", reason, outlier_class]
    assert found[["value", "threshold", "severity"]].tolist() == pytest.approx(
        [value, threshold, severity]
    )
    assert found["suspected_cause"] == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"n_components_pred": 4},
        {"dice": 0.5},
        {"hd95_mm": 20.0},
        {"volume_diff_ml": 25.0},
        {"volume_ref_ml": 2.0, "volume_diff_ml": 5.0},
    ],
)
def test_a_result_on_the_threshold_is_none(
    row: Row, metrics: Metrics, changes: dict[str, float]
) -> None:
    assert outliers_of(metrics(row("P1", **changes))).empty


@pytest.mark.parametrize(
    ("changes", "reason", "value", "threshold", "note"),
    [
        ({"touches_border": True}, "truncated_at_border", 49, np.nan, "border of the image"),
        ({"remote_component_mm": 31.0}, "remote_component", 31, 30, "distance of a component"),
        (
            {"dice_swapped": 0.95, "partner": "femur_l"},
            *("left_right_swap", 0.95, 0.9, "Dice 0.6, and 0.95 after exchanging labels"),
        ),
    ],
)
def test_reasons_of_the_inspection(
    row: Row,
    metrics: Metrics,
    changes: dict[str, object],
    reason: str,
    value: float,
    threshold: float,
    note: str,
) -> None:
    table = metrics(row("P1", dice=0.6), row("P2"))
    outliers = outliers_of(table, inspection=inspection_of("P1", **changes))
    assert outliers[["subject", "reason", "class"]].to_numpy().tolist() == [["P1", reason, "hard"]]
    found = outliers.iloc[0]
    np.testing.assert_allclose(
        found[["value", "threshold"]].to_numpy(dtype=float), [value, threshold]
    )
    assert note in found["note"]


@pytest.mark.parametrize(
    "changes",
    [{"remote_component_mm": 30.0}, {"dice_swapped": 0.9, "partner": "femur_l"}],
)
def test_an_inspection_on_the_threshold_is_none(
    row: Row, metrics: Metrics, changes: dict[str, object]
) -> None:
    table = metrics(row("P1", dice=0.6))
    assert outliers_of(table, inspection=inspection_of("P1", **changes)).empty


def test_what_was_not_inspected_is_not_counted(row: Row, metrics: Metrics) -> None:
    table = metrics(row("P1"), row("P2"))
    counted = by_reason_of(table, inspection=inspection_of("P1")).set_index("reason")["n_checked"]
    assert counted[["truncated_at_border", "remote_component", "left_right_swap"]].tolist() == [
        1,
        1,
        0,
    ]
    assert "remote_component" not in set(by_reason_of(table)["reason"])


def test_an_inspection_survives_the_file(row: Row, metrics: Metrics, tmp_path: Path) -> None:
    path = tmp_path / "inspection.csv"
    inspected = [inspection_of("007", touches_border=True), inspection_of("8", fold="ensemble")]
    write_table(path, pd.concat(inspected))
    read = pd.read_csv(path, dtype={"subject": str, "fold": str})
    assert reasons(outliers_of(metrics(row("007")), inspection=read)) == ["truncated_at_border"]


def test_failures_are_hard_and_clinical_outliers(row: Row, metrics: Metrics) -> None:
    table = metrics(row("P1", "missed"), row("P2", "hallucinated"), row("P3", "true_absent"))
    outliers = outliers_of(table)
    of_subject = {name: reasons(rows) for name, rows in outliers.groupby("subject")}
    assert of_subject == {
        "P1": ["high_hd95", "low_dice", "missed", "wrong_volume"],
        "P2": ["hallucinated", "high_hd95", "low_dice", "wrong_volume"],
    }
    assert outliers.loc[outliers["reason"] == "missed", "value"].tolist() == [50]
    assert outliers.loc[outliers["reason"] == "hallucinated", "value"].tolist() == [49]
    counted = by_reason_of(table).set_index("reason")
    assert counted.loc[["missed", "hallucinated"], "n_checked"].tolist() == [1, 2]
    assert counted.loc[["missed", "hallucinated"], "rate"].tolist() == [1, 0.5]


def test_thresholds_of_a_structure(row: Row, metrics: Metrics) -> None:
    table = metrics(
        *(row("P1", structure=name, dice=0.8, hd95_mm=8.0) for name in ("liver", "lens", "nerve"))
    )
    config = OutliersConfig(
        dice={"liver": 0.9, "default": 0.5}, hd95_mm={"liver": 10, "lens": 5}, worst=0
    )
    found = outliers_of(table, config)[["structure", "reason"]].to_numpy().tolist()
    assert found == [["liver", "low_dice"], ["lens", "high_hd95"]]
    by_reason = find_outliers(table, None, None, config)["by_reason"]
    assert isinstance(by_reason, pd.DataFrame)
    without = by_reason[by_reason["note"] == "no limit in outliers.hd95_mm"]
    assert without[["structure", "n_checked", "n"]].to_numpy().tolist() == [["nerve", 0, 0]]


def test_fences_list_the_bad_side_only(row: Row, metrics: Metrics) -> None:
    usual = [0.90, 0.905, 0.91, 0.915, 0.92, 0.925]
    table = metrics(
        *(row(f"P{i}", dice=dice) for i, dice in enumerate([*usual, 0.70, 0.999])),
    )
    outliers = outliers_of(table)
    assert outliers[["subject", "reason", "metric"]].to_numpy().tolist() == [
        ["P6", "tukey", "dice"],
        ["P6", "robust_z", "dice"],
    ]
    # Quartiles of the negative logits by hand, and 1.5 times their distance further.
    logits = np.sort(-np.log([d / (1 - d) for d in (*usual, 0.70, 0.999)]))
    low = logits[1] + 0.75 * (logits[2] - logits[1])
    high = logits[5] + 0.25 * (logits[6] - logits[5])
    fence = high + 1.5 * (high - low)
    assert outliers["threshold"].iloc[0] == pytest.approx(1 / (1 + np.exp(fence)))
    median = (logits[3] + logits[4]) / 2
    deviation = np.median(np.abs(logits - median)) / 0.6744897501960817
    assert outliers["threshold"].iloc[1] == pytest.approx(
        1 / (1 + np.exp(median + 3.5 * deviation))
    )


def test_fences_of_distances(row: Row, metrics: Metrics) -> None:
    table = metrics(
        *(row(f"P{i}", hd95_mm=float(d)) for i, d in enumerate([0, 2, 2, 3, 3, 4, 4, 19])),
    )
    outliers = outliers_of(table)
    assert set(zip(outliers["subject"], outliers["metric"], strict=True)) == {("P7", "hd95_mm")}


def test_fences_leave_failures_out(row: Row, metrics: Metrics) -> None:
    usual = [0.90, 0.905, 0.91, 0.915, 0.92]
    table = metrics(
        *(row(f"P{i}", dice=dice) for i, dice in enumerate(usual)),
        *(row(f"Q{i}", "missed") for i in range(4)),
    )
    outliers = outliers_of(table)
    assert "statistical" not in set(outliers["class"])
    by_reason = by_reason_of(table)
    fences = by_reason[by_reason["class"] == "statistical"]
    assert set(fences.loc[fences["metric"] == "dice", "n_checked"]) == {5}


@pytest.mark.parametrize(
    ("subjects", "note"),
    [
        (4, "fewer than 5 values without failures"),
        (5, "the median absolute deviation is 0"),
    ],
)
def test_fences_that_cannot_be_drawn_are_noted(
    row: Row, metrics: Metrics, subjects: int, note: str
) -> None:
    table = metrics(*(row(f"P{i}") for i in range(subjects)))
    assert outliers_of(table).empty
    by_reason = by_reason_of(table)
    robust = by_reason[by_reason["reason"] == "robust_z"]
    assert robust["note"].tolist() == [note] * 2
    assert robust["rate"].isna().all()


def test_constant_values_have_no_outlier_but_the_one_that_differs(
    row: Row, metrics: Metrics
) -> None:
    table = metrics(*(row(f"P{i}") for i in range(6)), row("P6", dice=0.8))
    assert outliers_of(table)[["subject", "reason"]].to_numpy().tolist() == [["P6", "tukey"]]


def compared_of(run: str, dice: dict[str, float], split: str = "val") -> pd.DataFrame:
    rows = [
        {"run": run, "split": split, "fold": "", "subject": subject, "structure": "prostate"}
        | {"dice": value}
        for subject, value in dice.items()
    ]
    return pd.DataFrame(rows)


def test_disagreement_with_another_run(row: Row, metrics: Metrics) -> None:
    subjects = [f"P{i:02d}" for i in range(20)]
    table = metrics(*(row(subject) for subject in subjects))
    theirs = dict.fromkeys(subjects, 0.89) | {"P07": 0.7, "Z": 0.1}
    compared = pd.concat([compared_of("Other", theirs), compared_of("Prostate", {"P01": 0.1})])
    outliers = outliers_of(table, compared=compared)
    assert outliers[["subject", "reason", "class"]].to_numpy().tolist() == [
        ["P07", "disagreement", "disagreement"]
    ]
    # 19 differences of 0.01 and one of 0.2: the 95th percentile lies a twentieth of the way up.
    assert outliers["threshold"].iloc[0] == pytest.approx(0.01 + 0.05 * 0.19)
    assert outliers["note"].iloc[0] == "Dice 0.9, and 0.7 by Other"
    by_reason = by_reason_of(table, compared=compared)
    counted = by_reason[by_reason["reason"] == "disagreement"]
    assert counted[["n_checked", "n", "note"]].to_numpy().tolist() == [
        [20, 1, "compared with Other"]
    ]


def test_equal_runs_do_not_disagree(row: Row, metrics: Metrics) -> None:
    table = metrics(*(row(f"P{i}", dice=0.1 * i + 0.55) for i in range(4)))
    same = compared_of("Other", {f"P{i}": 0.1 * i + 0.55 - 0.01 for i in range(4)})
    assert outliers_of(table, compared=same).empty


def test_runs_without_common_subjects_are_noted(row: Row, metrics: Metrics) -> None:
    by_reason = by_reason_of(metrics(row("P1")), compared=compared_of("Other", {"Z": 0.5}))
    noted = by_reason.loc[by_reason["reason"] == "disagreement", "note"]
    assert noted.tolist() == ["no subject in common with Other"]


def test_the_worst_are_always_listed(row: Row, metrics: Metrics) -> None:
    table = metrics(
        *(row(f"P{i}", dice=dice) for i, dice in enumerate([0.92, 0.91, 0.90, 0.90])),
        row("P0", structure="bladder", label=2, dice=0.91),
        # A derived structure, which repeats the others.
        row("P0", structure="both", label=None, dice=0.51),
        row("P9", "true_absent"),
    )
    outliers = outliers_of(table, OutliersConfig(worst=2))
    worst = outliers[outliers["class"] == "rank"]
    assert worst[["subject", "rank", "value", "structure"]].to_numpy().tolist() == [
        ["P2", 1, 0.9, ""],
        ["P3", 2, 0.9, ""],
    ]
    ranks = outliers_of(table, OutliersConfig(worst=10))
    ranks = ranks[ranks["class"] == "rank"]
    assert ranks["subject"].tolist() == ["P2", "P3", "P1", "P0"]
    assert ranks["note"].tolist()[-1] == "mean over structures; lowest: bladder"
    by_reason = find_outliers(table, None, None, OutliersConfig())["by_reason"]
    assert isinstance(by_reason, pd.DataFrame)
    counted = by_reason[by_reason["reason"] == "worst"]
    assert counted[["n_checked", "n", "rate"]].to_numpy().tolist() == [[4, 3, 0.75]]


def test_the_ensemble_is_the_result_on_test(row: Row, metrics: Metrics) -> None:
    table = metrics(
        row("P1", split="test", fold="0", dice=0.1),
        row("P1", split="test", fold="1", dice=0.1),
        row("P1", split="test", fold="ensemble", dice=0.4),
        row("P2", split="val", dice=0.3),
    )
    outliers = outliers_of(table)
    assert outliers[["split", "fold", "value"]].to_numpy().tolist() == [
        ["val", "0", 0.3],
        ["test", "ensemble", 0.4],
    ]


def test_the_list_is_sorted_by_class_and_severity(row: Row, metrics: Metrics) -> None:
    table = metrics(
        row("P1", dice=0.4),
        row("P2", dice=0.1),
        row("P3", n_components_pred=9),
        row("P4", n_components_pred=20),
    )
    assert outliers_of(table, OutliersConfig(worst=1))["subject"].tolist() == [
        *("P4", "P3", "P2", "P1"),
        "P2",
    ]


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_give_whole_tables(row: Row, metrics: Metrics, rows: int) -> None:
    found = find_outliers(metrics(*[row("P1", "true_absent")] * rows), None, None, CONFIG)
    outliers, by_reason = found["outliers"], found["by_reason"]
    assert isinstance(outliers, pd.DataFrame)
    assert isinstance(by_reason, pd.DataFrame)
    assert outliers.empty
    assert list(outliers) == OUTLIER_COLUMNS
    assert list(by_reason) == REASON_COLUMNS
    assert found["test_outliers"] == "There are no results on the test set.\n"
