import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.compare import compare_model, compare_runs
from crossfold.evaluation.statistics.comparisons import COMPARISONS_COLUMNS
from crossfold.evaluation.statistics.plan import make_plan, write_plan
from crossfold.evaluation.statistics.runs import Run
from crossfold.evaluation.statistics.sources import NUMBERS, TEXTS

FOLDS = 4
SUBJECTS = [f"P{i:02}" for i in range(24)]
DISTANCE = ("hd_mm", "hd95_mm", "assd_mm")
Tables = dict[str, pd.DataFrame]


@pytest.fixture(autouse=True)
def _no_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # statsmodels collects garbage whenever it corrects p-values: two thirds of the time here.
    monkeypatch.setattr("gc.collect", lambda: 0)
    with warnings.catch_warnings():
        # Threads of other tests may warn as well.
        warnings.filterwarnings("error", module="crossfold|numpy|scipy|pandas|statsmodels")
        yield


def row(subject: str, dice: float = 0.9, **changes: object) -> dict[str, object]:
    """A row of metrics; a Dice of 0 is a missed structure, NaN an absent one."""
    distance = {0: np.inf}.get(dice, 10 * (1 - dice))
    values = dict.fromkeys(("dice", "iou", "nsd"), dice) | dict.fromkeys(DISTANCE, distance)
    state = "missed" if dice == 0 else "true_absent" if np.isnan(dice) else "ok"
    about = {"model": "", "split": "val", "fold": "0", "group": subject, "structure": "a"}
    volumes = {"volume_ref_ml": 10.0, "volume_pred_ml": 10 * dice}
    return {"subject": subject, "state": state, **about, **values, **volumes, **changes}


def run(label: str, rows: list[dict[str, object]], folds: Mapping[str, str] | None = None) -> Run:
    """A run; folds: the fold that validates each subject, by default that of its rows."""
    empty = dict.fromkeys(TEXTS, "")
    frame = pd.DataFrame([empty | one for one in rows]).reindex(columns=[*TEXTS, *NUMBERS])
    of_val = frame[frame["split"] == "val"]
    folds = dict(zip(of_val["subject"], of_val["fold"], strict=True)) if folds is None else folds
    groups = frame.groupby("subject")["group"].first()
    roles = [
        (subject, groups.get(subject, subject), "", fold, "val" if mine == fold else "train")
        for subject, mine in folds.items()
        for fold in sorted(set(folds.values()))
    ]
    columns = ["subject", "group", "institution", "fold", "role"]
    return Run(label, "model", f"{label}.csv", frame, pd.DataFrame(roles, columns=columns))


def cohort(
    label: str, shift: float = 0.0, seed: int = 0, *, subjects: list[str] = SUBJECTS, **dice: float
) -> Run:
    """Subjects in four folds, with their own difficulty; dice: what single ones have instead."""
    random = np.random.default_rng(seed)
    return run(
        label,
        [
            row(
                subject,
                dice.get(subject, 0.8 + 0.001 * int(subject[1:]) + shift + random.normal(0, 0.01)),
                fold=str(i % FOLDS),
            )
            for i, subject in enumerate(subjects)
        ],
    )


def tables(*runs: Run, structures: tuple[str, ...] = ("a",), **config: object) -> Tables:
    settings = StatisticsConfig.model_validate({"resamples": 999, **config})
    labels = [one.label for one in runs]
    plan = make_plan(labels[0], labels[1:], structures, settings, results_existed=False)
    return compare_runs(runs, structures, plan, settings)


def planned(result: Tables, metric: str = "dice") -> pd.Series:
    table = result["comparisons"]
    rows = table[(table["family_id"] == "planned") & (table["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_better_model_wins_in_every_fold() -> None:
    result = tables(cohort("A", 0.05), cohort("B", seed=1))
    one = planned(result)
    assert list(result["comparisons"].columns) == COMPARISONS_COLUMNS
    assert (one["verdict"], one["folds_agree"], one["folds_differ"]) == ("a_better", "4/4", False)
    assert (one["n"], one["n_dropped"], one["m"], one["test"]) == (24, 0, 2, "wilcoxon_exact")
    assert one["diff_ci_low"] < 0.05 < one["diff_ci_high"]
    distance = result["comparisons"].query("metric == 'assd_mm'").iloc[0]
    assert (distance["verdict"], distance["family_id"]) == ("a_better", "runs")
    assert distance["diff_hl"] < 0 < distance["p_a_better"]


def test_a_run_trained_on_a_compared_subject_is_refused() -> None:
    folds = dict.fromkeys(SUBJECTS[2:], "0") | {"P00": "1", "P01": "1"}
    leaking = run("B", [row(subject) for subject in SUBJECTS], folds)
    result = tables(cohort("A", 0.05), leaking)
    table = result["comparisons"]
    assert set(table["verdict"]) == {"refused"}
    assert set(table["reason"]) == {"B was trained on P00, P01"}
    assert table["p_raw"].isna().all()
    assert list(result["leaks"]["subject"]) == ["P00", "P01"]
    for name in ("failure_rates", "method"):
        assert set(result[name]["note"]) == {"B was trained on P00, P01"}


def test_failures_are_the_worst_values() -> None:
    result = tables(cohort("A", 0.02), cohort("B", 0.0, 1, P03=0.0, P05=0.0))
    one = planned(result)
    assert (one["n"], one["n_failed_a"], one["n_failed_b"]) == (24, 0, 2)
    failures = result["failure_rates"].iloc[0]
    assert (failures["missed_a"], failures["missed_b"]) == (0, 2)
    assert failures["p_mcnemar"] == pytest.approx(0.5)
    sensitivity = result["sensitivity"].set_index(["metric", "variant"])
    assert sensitivity.loc[("dice", "failures_excluded"), "n"] == 22
    assert np.isinf(result["comparisons"].set_index("metric").loc["hd_mm", "diff_mean"])
    assert np.isfinite(sensitivity.loc[("hd_mm", "penalised_distance"), "diff_mean"])
    assert set(result["method"].query("metric == 'hd_mm'")["note"]) == {
        "a failure makes the mean of a fold infinite"
    }


def test_a_verdict_that_hangs_on_failures_flips() -> None:
    failing = dict.fromkeys(SUBJECTS[:8], 0.0)
    result = tables(cohort("A"), cohort("B", **failing), primary_metrics=["dice"])
    assert planned(result)["verdict"] == "a_better"
    flips = result["sensitivity"].query("metric == 'dice'").set_index("variant")["verdict_flips"]
    assert flips["failures_excluded"]


def test_absent_structures_are_dropped_and_counted() -> None:
    hallucinated = {"state": "hallucinated", **dict.fromkeys(DISTANCE, np.inf)}
    a = cohort("A", P00=np.nan, P01=np.nan)
    b = cohort("B", 0.0, 1, P00=np.nan)
    b.rows.loc[1, list(hallucinated)] = list(hallucinated.values())
    b.rows.loc[1, ["dice", "iou", "nsd"]] = 0.0
    result = tables(a, b)
    one = planned(result)
    assert (one["n"], one["n_dropped"]) == (22, 2)
    assert "2 without the structure in the reference" in one["reason"]
    failures = result["failure_rates"].iloc[0]
    assert (failures["n_absent_b"], failures["hallucinated_b"], failures["missed_b"]) == (2, 1, 0)


def test_disputed_references_are_named() -> None:
    b = cohort("B", 0.0, 1, P00=np.nan)
    b.rows.loc[3, "volume_ref_ml"] = 12.0
    reason = planned(tables(cohort("A"), b))["reason"]
    assert "the references of P00 disagree on that" in reason
    assert "the references of P03 differ in volume" in reason


def test_partial_overlap_is_paired_on_the_intersection() -> None:
    one = planned(tables(cohort("A"), cohort("B", 0.0, 1, subjects=SUBJECTS[8:])))
    assert (one["design"], one["n"], one["n_a"], one["n_b"]) == ("paired", 16, 24, 16)
    assert one["n_dropped"] == 8
    assert "8 only in A" in one["reason"]
    assert one["folds_differ"]


def test_no_common_subject_is_unpaired_and_says_so() -> None:
    others = [f"Q{i:02}" for i in range(30)]
    result = tables(cohort("A", 0.03), cohort("B", 0.0, 1, subjects=others))
    one = planned(result)
    assert (one["design"], one["n_a"], one["n_b"]) == ("unpaired", 24, 30)
    assert one["verdict"] == "a_better"
    assert one["test"] == "mann_whitney_exact"
    assert "case mix" in one["reason"]
    assert np.isnan(result["failure_rates"].loc[0, "p_mcnemar"])
    assert "brunner_munzel" in set(result["sensitivity"]["variant"])


@pytest.mark.parametrize(
    ("metric", "shift", "margin", "verdict"),
    [
        ("dice", 0.0, 0.02, "non_inferior"),
        ("assd_mm", 0.0, 0.2, "non_inferior"),
        ("dice", 0.0, 0.001, "inconclusive"),
        ("dice", 0.05, 0.02, "a_better"),
        ("dice", -0.05, 0.02, "b_better"),
    ],
)
def test_margins(metric: str, shift: float, margin: float, verdict: str) -> None:
    config = {"primary_metrics": [metric], "margins": {metric: margin}}
    one = planned(tables(cohort("A", shift), cohort("B", seed=1), **config), metric)
    assert (one["verdict"], one["margin"]) == (verdict, margin)


def test_what_the_other_run_lacks_is_named() -> None:
    other = cohort("B", seed=1)
    other.rows["nsd"] = np.nan
    result = tables(cohort("A"), other, structures=("a", "b"))
    table = result["comparisons"].set_index(["structure", "metric"])
    assert table.loc[("a", "nsd"), "reason"] == "nsd not measured: B"
    assert table.loc[("b", "dice"), "reason"] == "no structure b: A, B"
    assert set(table.loc["b", "verdict"]) == {"not_computed"}
    assert table.loc[("a", "dice"), "m"] == 1


def test_nsd_at_another_tolerance_is_not_compared() -> None:
    runs = cohort("A"), cohort("B", seed=1)
    for one, mm in zip(runs, (1, 2), strict=True):
        one.rows["nsd_tolerance_mm"] = mm
    one = planned(tables(*runs), "nsd")
    assert (one["verdict"], one["reason"]) == ("not_computed", "NSD at 1 mm in A, at 2 mm in B")


def test_other_split_of_the_other_run_is_named() -> None:
    tested = run("B", [row(subject, split="test", fold="ensemble") for subject in SUBJECTS], {})
    one = planned(tables(cohort("A"), tested))
    assert (one["verdict"], one["reason"]) == ("not_computed", "no result on val: B")


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_few_subjects(n: int, shift: float) -> None:
    some, sides = SUBJECTS[:n], (("A", 0.8 + shift), ("B", 0.8))
    a, b = (run(label, [row(subject, dice) for subject in some]) for label, dice in sides)
    result = tables(a, b)
    one = planned(result)
    assert (one["n"], one["verdict"]) == (n, "inconclusive")
    assert "too few pairs" in one["reason"]


@pytest.mark.parametrize("dice", [0.0, 0.8, np.nan])
def test_constant_metrics(dice: float) -> None:
    some = [row(subject, dice, fold=str(i % 4)) for i, subject in enumerate(SUBJECTS)]
    one = planned(tables(run("A", some), run("B", some)))
    assert one["verdict"] == ("not_computed" if np.isnan(dice) else "inconclusive")
    assert ("no subject" if np.isnan(dice) else "all differences are zero") in one["reason"]


def repeated(label: str, dice: tuple[float, float], scans: int = 3) -> Run:
    """12 patients with several scans; dice of the last scan, and of the others."""
    return run(
        label,
        [
            row(f"P{i}-{scan}", dice[scan < scans - 1] + 0.001 * i, group=f"P{i}", fold=str(i % 3))
            for i in range(12)
            for scan in range(scans)
        ],
    )


def test_repeated_scans_are_one_patient() -> None:
    a, b = repeated("A", (0.9, 0.8)), repeated("B", (0.75, 0.8))
    one = planned(tables(a, b))
    assert (one["n"], one["n_a"], one["diff_hl"]) == (12, 12, pytest.approx(0.05))
    clustered = tables(a, b, repeated_scans="cluster")
    assert planned(clustered)["n"] == 36
    assert "36 scans of 12 patients" in planned(clustered)["reason"]
    assert clustered["failure_rates"].loc[0, "n"] == 12
    ignored = clustered["sensitivity"].query("variant == 'clusters_ignored' and metric == 'dice'")
    assert list(ignored["n"]) == [36]
    assert (clustered["bland_altman"]["n"] == 12).all()


def test_scans_that_one_run_lacks_do_not_enter_the_mean() -> None:
    a, b = repeated("A", (0.9, 0.8)), repeated("B", (0.75, 0.8))
    last = b.rows["subject"].str.endswith("-2")
    one = planned(tables(a, Run("B", "model", "", b.rows[~last], b.roles)))
    assert one["diff_hl"] == 0
    assert "12 only in A" in one["reason"]


def test_a_patient_fails_with_any_scan() -> None:
    b = repeated("B", (0.0, 0.8))
    b.rows.loc[b.rows["dice"] < 0.1, ["dice", "iou", "nsd"]] = 0.0
    b.rows.loc[b.rows["dice"] == 0, [*DISTANCE, "state"]] = [np.inf] * 3 + ["missed"]
    one = planned(tables(repeated("A", (0.8, 0.8)), b))
    assert (one["n"], one["n_failed_b"]) == (12, 12)


def with_members(label: str) -> Run:
    random = np.random.default_rng(0)
    tested = [
        row(f"T{i}", 0.8 + 0.01 * (fold == "ensemble") + random.normal(0, 0.002), **about)
        for fold in ["10", "2", "ensemble"]
        for about in [{"split": "test", "fold": fold}]
        for i in range(12)
    ]
    return run(label, tested, {})


def test_members_meet_on_test() -> None:
    result = tables(with_members("A"))
    members = result["comparisons"].query("metric == 'dice'")
    assert members[["run_a", "run_b"]].to_numpy().tolist() == [
        ["A fold 2", "A fold 10"],
        ["A fold 2", "A ensemble"],
        ["A fold 10", "A ensemble"],
    ]
    assert list(members["verdict"]) == ["inconclusive", "b_better", "b_better"]
    assert list(members["folds_differ"]) == [True] * 3
    ranks = result["ranks"].query("metric == 'dice' and scheme == 'rank_then_mean'")
    assert list(ranks["model"]) == ["A fold 2", "A fold 10", "A ensemble"]
    assert set(result["ranks"]["runs"]) == {"members"}
    assert ranks["rank"].iloc[-1] == 1
    assert (result["omnibus"]["k"] == 3).all()
    assert list(result["runs"]["run"]) == ["A", "A fold 2", "A fold 10", "A ensemble"]


def test_three_runs_are_ranked_on_common_subjects() -> None:
    runs = cohort("A", 0.1), cohort("B", 0.0, 1, subjects=SUBJECTS[4:]), cohort("C", -0.1, 2)
    result = tables(*runs)
    omnibus = result["omnibus"].query("metric == 'dice'").iloc[0]
    assert (omnibus["runs"], omnibus["n"], omnibus["k"]) == ("compared", 20, 3)
    assert omnibus["p"] < 0.001
    ranks = result["ranks"].query("metric == 'hd95_mm' and scheme == 'mean_then_rank'")
    assert list(ranks["rank"]) == [1, 2, 3]
    assert ranks["p_ranks"].iloc[0] == "1 0 0"
    assert "4 subjects that not all have" in ranks["note"].iloc[0]


def test_institutions_meet_within_the_model() -> None:
    model = cohort("A")
    model.rows["institution"] = ["I", "J", "I", "J", "I", "J"] * 3 + ["I"] * 2 + ["K"] * 4
    result = tables(model)
    table = result["comparisons"]
    assert set(zip(table["group_a"], table["group_b"], strict=True)) == {("I", "J")}
    assert set(table["design"]) == {"unpaired"}
    assert set(table["family_id"]) == {"institutions"}
    assert (table["n_a"] == 11).all()
    assert "institutions with fewer than 5 subjects: K" in result["runs"].loc[0, "note"]


def test_method_is_tested_on_the_same_folds_only() -> None:
    other_folds = cohort("C", seed=2, subjects=SUBJECTS[::2] + SUBJECTS[1::2])
    result = tables(cohort("A", 0.05), cohort("B", seed=1), other_folds)
    method = result["method"].query("metric == 'dice'").set_index("model_b")
    assert method.loc["B", ["k", "n_train", "n_test", "df"]].tolist() == [4, 18, 6, 3]
    assert method.loc["B", "p"] < 0.05
    assert method.loc["C", "note"] == "not the same folds, or folds unknown"


def test_volumes_of_every_run() -> None:
    table = tables(cohort("A"), cohort("B", 0.0, 1, P00=0.0))["bland_altman"].set_index("model")
    assert list(table["n"]) == [24, 24]
    assert list(table["n_missed"]) == [0, 1]
    assert table.loc["A", "bias_ml"] < 0


def test_nothing_to_compare_gives_empty_tables_with_headers() -> None:
    result = tables(cohort("A"))
    for name in ("comparisons", "sensitivity", "ranks", "failure_rates", "method", "omnibus"):
        assert result[name].empty
        assert len(result[name].columns) > 5


def test_same_tables_every_time() -> None:
    runs = cohort("A", 0.01), cohort("B", seed=1), cohort("C", seed=2, P01=0.0)
    first, second = tables(*runs), tables(*runs)
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, second[name])


def written(folder: Path, one: Run) -> tuple[Path, Path]:
    folder.mkdir()
    one.rows.drop(columns="group").to_csv(folder / "metrics.csv", index=False)
    assert one.roles is not None
    one.roles.to_csv(folder / "splits.csv", index=False)
    return folder / "metrics.csv", folder / "splits.csv"


def test_files_of_a_model_and_of_another_model_and_a_table(tmp_path: Path) -> None:
    metrics, splits = written(tmp_path / "A", cohort("A"))
    other = written(tmp_path / "B", cohort("B", seed=1))
    table = tmp_path / "old.csv"
    table.write_text(
        "Patient,Structure,Dice,HausdorffDistance_mm,MeanDistance_mm\n"
        + "".join(f"{subject},a,{70 + i},5,1\n" for i, subject in enumerate(SUBJECTS))
    )
    others = [
        ({"model": "B"}, *other),
        ({"metrics": str(table), "split": "val", "label": "old"}, None, None),
    ]
    config = StatisticsConfig(resamples=999)
    plan = make_plan("A", ["B", "old"], ["a"], config, results_existed=True)
    write_plan(tmp_path / "plan.json", plan)
    result = compare_model(
        *("A", metrics, splits, others),
        structures=["a"],
        plan=tmp_path / "plan.json",
        config=config,
    )
    table = result["comparisons"].query("metric == 'dice'")
    assert list(table["run_b"]) == ["B", "old"]
    assert list(table["median_b"].round(1)) == [0.8, 0.8]
    assert "training subjects unknown: old" in table["reason"].iloc[1]
    assert list(result["runs"]["kind"]) == ["model", "model", "metrics"]
    with pytest.raises(CrossfoldError, match="alpha changed"):
        compare_model(
            *("A", metrics, splits, others),
            structures=["a"],
            plan=tmp_path / "plan.json",
            config=StatisticsConfig(resamples=999, alpha=0.01),
        )
