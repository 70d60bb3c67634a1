from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.summary import SUMMARY_COLUMNS, summarise_metrics
from crossfold.evaluation.tables import METRICS_COLUMNS, read_metrics, write_metrics, write_table

CONFIG = StatisticsConfig(resamples=999)
FAILURE = {"dice": 0.0, "iou": 0.0, "nsd": 0.0, "hd_mm": np.inf, "hd95_mm": np.inf}
OF_STATE = {
    "ok": {},
    "missed": {**FAILURE, "assd_mm": np.inf, "volume_pred_ml": 0.0, "volume_diff_pct": -100.0},
    "hallucinated": {**FAILURE, "assd_mm": np.inf, "volume_diff_pct": np.inf},
    "true_absent": dict.fromkeys([*FAILURE, "assd_mm", "volume_diff_pct"], np.nan),
}


def row(subject: str, state: str = "ok", **changes: object) -> dict[str, object]:
    whole = {
        "model": "Prostate",
        "dataset": "phantom",
        "synthetic": True,
        "split": "val",
        "fold": 0,
        "seed": 0,
        "subject": subject,
        "institution": "",
        "series": "",
        "structure": "prostate",
        "label": 1,
        "state": state,
        "dice": 0.9,
        "iou": 0.8,
        "nsd": 0.95,
        "nsd_tolerance_mm": 1.0,
        "hd_mm": 4.0,
        "hd95_mm": 3.0,
        "assd_mm": 1.0,
        "volume_ref_ml": 50.0,
        "volume_pred_ml": 49.0,
        "volume_diff_ml": -1.0,
        "volume_diff_pct": -2.0,
        "fp_volume_ml": 1.0,
        "fn_volume_ml": 2.0,
        "n_components_ref": 1,
        "n_components_pred": 1,
        "spacing_x_mm": 1.0,
        "spacing_y_mm": 1.0,
        "spacing_z_mm": 3.0,
    }
    return whole | OF_STATE[state] | changes


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=METRICS_COLUMNS)


def test_table_is_written_to_the_letter_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, table(row("007", "missed", label=None), row("NA", dice=0.123456789)))
    header, missed, ok = path.read_text(encoding="utf-8").splitlines()
    assert header == ",".join(METRICS_COLUMNS)
    assert missed == (
        "Prostate,phantom,True,val,0,0,007,,,prostate,,missed,0,0,0,1,inf,inf,inf,"
        "50,0,-1,-100,1,2,1,1,1,1,3"
    )
    assert ok.startswith("Prostate,phantom,True,val,0,0,NA,,,prostate,1,ok,0.123457,0.8,")
    frame = read_metrics(path)
    assert frame["subject"].tolist() == ["007", "NA"]
    assert frame["institution"].tolist() == ["", ""]
    assert frame["fold"].tolist() == ["0", "0"]
    assert frame["synthetic"].tolist() == [True, True]
    assert frame["hd_mm"].tolist() == [np.inf, 4.0]
    assert frame["label"].isna().tolist() == [True, False]


def test_what_was_read_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    absent = row("b", "true_absent", volume_ref_ml=0.0, volume_pred_ml=0.0, seed=None)
    write_metrics(first, table(row("a", dice=1 / 3), absent, row("c", "hallucinated")))
    write_metrics(second, read_metrics(first))
    assert first.read_bytes() == second.read_bytes()


def test_rows_are_sorted_by_split_fold_and_subject_and_structures_stay(tmp_path: Path) -> None:
    rows = [
        row(subject, structure=structure, split=split, fold=fold)
        for split, fold in [("val", 10), ("val", 2), ("test", "ensemble"), ("test", 2)]
        for subject in ("b", "a")
        for structure in ("rectum", "bladder")
    ]
    path = tmp_path / "metrics.csv"
    write_metrics(path, table(*rows))
    frame = read_metrics(path)
    groups = frame[["split", "fold"]].drop_duplicates().to_numpy().tolist()
    assert groups == [["test", "2"], ["test", "ensemble"], ["val", "2"], ["val", "10"]]
    first_group = frame.head(4)[["subject", "structure"]].to_numpy().tolist()
    assert first_group == [["a", "rectum"], ["a", "bladder"], ["b", "rectum"], ["b", "bladder"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a", dice=1.2)], "column dice: 1.2"),
        ([row("a", split="train")], "column split: train"),
        ([row("a") | {"state": "lost"}], "lost"),
        ([row("a", dice=np.nan)], "truly absent"),
        ([row("a", spacing_z_mm=0.0)], "column spacing_z_mm"),
        ([row("a", fold="ensemble")], "no ensemble on validation subjects"),
        ([row("a"), row("a")], "uniqueness"),
    ],
)
def test_a_table_that_breaks_a_rule_is_not_written(
    tmp_path: Path, rows: list[dict[str, object]], message: str
) -> None:
    path = tmp_path / "metrics.csv"
    with pytest.raises(CrossfoldError, match=message):
        write_metrics(path, table(*rows))
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_a_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_table(path, table(row("a")).drop(columns="iou"))
    with pytest.raises(CrossfoldError, match=r"metrics\.csv: column iou"):
        read_metrics(path)


def summary_of(frame: pd.DataFrame, metric: str, config: StatisticsConfig = CONFIG) -> pd.Series:
    summary = summarise_metrics(frame, config)
    assert summary.columns.tolist() == SUMMARY_COLUMNS
    (index,) = summary.index[summary["metric"] == metric]
    return summary.loc[index]


def test_summary_worked_out_by_hand() -> None:
    # Five subjects with the structure in either map, one without it in both.
    frame = table(
        row("a", dice=0.7, hd95_mm=2.0),
        row("b", dice=0.8, hd95_mm=3.0, fold=1),
        row("c", dice=0.9, hd95_mm=7.0, fold=1),
        row("d", "missed", fold=2),
        row("e", "hallucinated", fold=2),
        row("f", "true_absent", fold=2),
    )
    dice = summary_of(frame, "dice")
    assert (dice["split"], dice["fold"], dice["unit"], dice["better"]) == (
        "val",
        "pooled",
        "1",
        "higher",
    )
    counts = dice[["n", "n_absent", "n_missed", "n_hallucinated"]].tolist()
    assert counts == [5, 1, 1, 1]
    assert dice["mean"] == pytest.approx((0.7 + 0.8 + 0.9 + 0 + 0) / 5)
    assert dice["mean_ok"] == pytest.approx(0.8)
    assert dice["sd_ok"] == pytest.approx(0.1)
    assert dice[["min", "q1", "median", "q3", "max"]].tolist() == [0.0, 0.0, 0.7, 0.8, 0.9]
    distance = summary_of(frame, "hd95_mm")
    assert np.isnan(distance["mean"])
    assert distance["mean_ok"] == pytest.approx(4.0)
    quartiles = distance[["min", "q1", "median", "q3", "max"]].tolist()
    assert quartiles == [2.0, 3.0, 7.0, np.inf, np.inf]


def test_median_between_a_value_and_infinity_is_infinite_not_undefined() -> None:
    frame = table(row("a"), row("b", "missed"), row("c"), row("d", "missed"))
    assert summary_of(frame, "assd_mm")["median"] == np.inf


def cohort(n_subjects: int) -> pd.DataFrame:
    dices = np.random.default_rng(0).beta(9, 1, n_subjects)
    distances = np.random.default_rng(1).gamma(2, 2, n_subjects)
    return table(
        *(
            row(f"{i:03d}", dice=dice, hd95_mm=distance)
            for i, (dice, distance) in enumerate(zip(dices, distances, strict=True))
        )
    )


def test_interval_of_a_mean_is_close_to_the_one_of_theory() -> None:
    frame = cohort(200)
    dice = summary_of(frame, "dice", StatisticsConfig())
    margin = 1.96 * frame["dice"].std() / np.sqrt(200)
    assert (dice["ci_statistic"], dice["ci_method"], dice["n_resamples"]) == ("mean", "BCa", 9999)
    assert dice["ci_low"] == pytest.approx(dice["mean"] - margin, abs=0.1 * margin)
    assert dice["ci_high"] == pytest.approx(dice["mean"] + margin, abs=0.1 * margin)


def test_interval_of_a_median_is_close_to_its_order_statistics() -> None:
    # 0.95 of a binomial of 200 at one half lies within 86 and 114 (100 +- 1.96 x 7.07).
    frame = cohort(200)
    distance = summary_of(frame, "hd95_mm", StatisticsConfig())
    ordered = np.sort(frame["hd95_mm"])
    assert (distance["ci_statistic"], distance["ci_method"]) == ("median", "percentile")
    assert ordered[83] < distance["ci_low"] < ordered[88]
    assert ordered[111] < distance["ci_high"] < ordered[116]


def test_interval_of_a_median_may_end_at_infinity() -> None:
    found = [row(f"{i}", hd95_mm=1.0 + i) for i in range(7)]
    frame = table(*found, *(row(f"missed {i}", "missed") for i in range(4)))
    distance = summary_of(frame, "hd95_mm")
    assert distance["median"] == 6.0
    assert np.isfinite(distance["ci_low"])
    assert distance["ci_high"] == np.inf


@pytest.mark.parametrize("metric", ["dice", "hd95_mm"])
def test_few_subjects_make_no_claim(metric: str) -> None:
    summary = summary_of(cohort(9), metric)
    assert np.isnan([summary["ci_low"], summary["ci_high"]]).all()
    assert (summary["ci_method"], summary["n_resamples"]) == ("none", 0)
    assert summary_of(cohort(10), metric)["ci_method"] != "none"


def test_equal_values_make_no_claim() -> None:
    assert summary_of(cohort(12), "nsd")["ci_method"] == "none"


def test_structure_that_is_absent_everywhere_is_counted_only() -> None:
    dice = summary_of(table(row("a", "true_absent"), row("b", "true_absent")), "dice")
    assert (dice["n"], dice["n_absent"]) == (0, 2)
    assert np.isnan([dice["mean"], dice["median"], dice["ci_low"]]).all()


def test_summary_depends_on_nothing_but_table_and_seed() -> None:
    pd.testing.assert_frame_equal(
        summarise_metrics(cohort(20), CONFIG), summarise_metrics(cohort(20), CONFIG)
    )


def test_folds_are_pooled_on_validation_and_apart_on_test() -> None:
    validation = [row("a", fold=0), row("b", fold=1)]
    test = [row("c", split="test", fold=fold) for fold in (0, 1, "ensemble")]
    summary = summarise_metrics(table(*validation, *test), CONFIG)
    groups = summary[["split", "fold", "n"]].drop_duplicates().to_numpy().tolist()
    assert groups == [["val", "pooled", 2], *(["test", fold, 1] for fold in (0, 1, "ensemble"))]


def test_a_subject_does_not_count_twice() -> None:
    with pytest.raises(CrossfoldError, match="a has several rows for prostate"):
        summarise_metrics(table(row("a", fold=0), row("a", fold=1)), CONFIG)
