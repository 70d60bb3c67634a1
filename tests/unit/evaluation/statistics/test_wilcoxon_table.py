from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.wilcoxon_table import (
    NOT_ENOUGH,
    WILCOXON_COLUMNS,
    signed_rank_z,
    wilcoxon_table,
    wilcoxon_text,
)

CONFIG = StatisticsConfig()
TEN = [0.900 + 0.010 * i for i in range(10)]
TEN_BETTER = [score + 0.001 for score in TEN]


def rows_of(
    run: str,
    scores: Iterable[float],
    *,
    structure: str = "prostate",
    split: str = "test",
    fold: str = "",
    series: str = "",
) -> list[dict[str, object]]:
    return [
        {
            "run": run,
            "split": split,
            "fold": fold,
            "subject": f"P{i:02d}",
            "series": series and f"{series}{i:02d}",
            "structure": structure,
            "dice": dice,
        }
        for i, dice in enumerate(scores)
    ]


def frame(*rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame([row for some in rows for row in some])


def only_row(table: pd.DataFrame) -> pd.Series:
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(
    ("structure", "factors", "p"),
    [
        ("prostate", False, 0.9975),
        ("prostate", True, 0.9875),
        # The distribution function of the normal at 1.4016.
        ("External", True, 0.9195),
        ("skin", True, 0.9195),
    ],
)
def test_ten_subjects_that_are_better_by_a_thousandth(
    structure: str, factors: bool, p: float
) -> None:
    compared = frame(
        rows_of("old", TEN, structure=structure), rows_of("new", TEN_BETTER, structure=structure)
    )
    config = StatisticsConfig(structure_factors=factors)
    row = only_row(wilcoxon_table(compared, config, focus="new"))
    assert (row["run_1"], row["run_2"], row["n"]) == ("old", "new", 10)
    assert (row["n_1_better"], row["n_2_better"]) == (0, 10)
    assert row["z"] == pytest.approx(2.8031, abs=5e-5)
    assert row["p"] == pytest.approx(p, abs=5e-5)
    assert row["verdict"] == ("BETTER" if p > 0.975 else "")


def test_the_worse_run_is_called_worse() -> None:
    compared = frame(rows_of("old", TEN_BETTER), rows_of("new", TEN))
    row = only_row(wilcoxon_table(compared, CONFIG, focus="new"))
    assert row["z"] == pytest.approx(-2.8031, abs=5e-5)
    assert row["p"] == pytest.approx(0.0025, abs=5e-5)
    assert row["verdict"] == "WORSE"


def test_level_of_significance_is_the_configured_one() -> None:
    compared = frame(rows_of("old", TEN), rows_of("new", TEN_BETTER))
    row = only_row(wilcoxon_table(compared, StatisticsConfig(alpha=0.004), focus="new"))
    assert row["verdict"] == ""


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=30))
def test_z_is_that_of_the_sum_of_positive_ranks(differences: list[int]) -> None:
    nonzero = np.array([d for d in differences if d], dtype=float)
    z = signed_rank_z(np.array(differences, dtype=float))
    if not nonzero.size:
        assert z == 0
        return
    n = nonzero.size
    w_plus = stats.rankdata(np.abs(nonzero))[nonzero > 0].sum()
    textbook = (w_plus - n * (n + 1) / 4) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    assert z == pytest.approx(textbook)
    assert signed_rank_z(-np.array(differences, dtype=float)) == pytest.approx(-z)


def test_round_off_does_not_break_ties() -> None:
    one = np.array([90.1, 80.2, 70.3, 60.4, 50.5])
    two = one + 0.1
    assert signed_rank_z(two - one) == pytest.approx(15 / np.sqrt(55))
    assert signed_rank_z(one - one * (1 + 1e-15)) == 0


def test_text_to_the_letter() -> None:
    compared = frame(
        rows_of("new", TEN_BETTER),
        rows_of("old", TEN),
        rows_of("new", [0.5, 0.6, 0.7], structure="seminal vesicles, both"),
        rows_of("old", [0.4, 0.6, 0.8, 0.9], structure="seminal vesicles, both"),
    )
    text = wilcoxon_text(wilcoxon_table(compared, CONFIG, focus="new"), CONFIG)
    explanation, section, tables = text.partition("\n--- ")
    assert section + tables == (
        """
--- Runs on the test set ---

Run 1: old
Run 2: new
Name                     N   Mean1   Mean2  N1>2  N2>1    Med1    Med2  WilcZ  WilcP  2_vs_1
prostate                10  94.500  94.600     0    10  94.500  94.600  2.803  0.997  BETTER
seminal vesicles, both   3  60.000  60.000     1     1  60.000  60.000
Left out, as only one run has a score: seminal vesicles, both 1
"""
    )
    assert "above 0.975 or below 0.025" in explanation
    assert "comparisons.csv" in explanation
    assert "z was not divided" in explanation
    assert max(map(len, explanation.splitlines())) <= 100


def test_explanation_says_when_z_is_divided() -> None:
    config = StatisticsConfig(structure_factors=True)
    empty = wilcoxon_table(frame(rows_of("new", TEN)), config, focus="new")
    assert "z was divided by 1.25, and by 2.0 for external and skin" in wilcoxon_text(empty, config)


def test_folds_and_ensemble_are_compared_all_with_all_on_test() -> None:
    compared = frame(
        *(rows_of("A", TEN, fold=fold) for fold in ("10", "2", "ensemble")),
        rows_of("A", TEN, fold="2", split="val"),
    )
    table = wilcoxon_table(compared, CONFIG, focus="A")
    assert list(zip(table["run_1"], table["run_2"], strict=True)) == [
        ("A fold 2", "A fold 10"),
        ("A fold 2", "A ensemble"),
        ("A fold 10", "A ensemble"),
    ]
    assert set(table["kind"]) == {"members"}


def test_a_member_as_reference_is_the_only_one_compared_with() -> None:
    compared = frame(
        *(rows_of("A", TEN, fold=fold) for fold in ("0", "1", "ensemble")),
        rows_of("B", TEN),
    )
    config = StatisticsConfig(reference="A ensemble")
    table = wilcoxon_table(compared, config, focus="A")
    assert list(zip(table["run_1"], table["run_2"], strict=True)) == [
        ("A fold 0", "A ensemble"),
        ("A fold 1", "A ensemble"),
        ("B", "A"),
    ]


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({}, [("B", "A"), ("C", "A")]),
        ({"reference": "C"}, [("A", "C"), ("B", "C")]),
        ({"pairs": "all"}, [("A", "B"), ("A", "C"), ("B", "C")]),
    ],
)
@pytest.mark.parametrize("split", ["val", "test"])
def test_pairs_of_runs(options: dict[str, str], pairs: list[tuple[str, str]], split: str) -> None:
    compared = frame(*(rows_of(run, TEN, split=split) for run in "ABC"))
    table = wilcoxon_table(compared, StatisticsConfig(**options), focus="A")
    assert list(zip(table["run_1"], table["run_2"], strict=True)) == pairs
    assert set(table["split"]) == {split}


def test_the_result_on_test_is_the_ensemble() -> None:
    compared = frame(
        rows_of("A", TEN_BETTER, fold="ensemble"),
        rows_of("A", TEN, fold="0"),
        rows_of("B", TEN, fold="ensemble"),
        rows_of("B", TEN_BETTER, fold="0"),
    )
    table = wilcoxon_table(compared, CONFIG, focus="A")
    row = only_row(table[table["kind"] == "runs"])
    assert (row["mean_1"], row["mean_2"]) == (pytest.approx(94.5), pytest.approx(94.6))


def test_series_are_paired_where_both_runs_know_them() -> None:
    same_series = rows_of("B", TEN, series="s")
    for row in same_series:
        row["subject"] = f"other_{row['subject']}"
    row = only_row(
        wilcoxon_table(frame(rows_of("A", TEN, series="s"), same_series), CONFIG, focus="A")
    )
    assert (row["paired_by"], row["n"]) == ("series", 10)
    compared = frame(rows_of("A", TEN, series="s"), rows_of("B", TEN))
    assert only_row(wilcoxon_table(compared, CONFIG, focus="A"))["paired_by"] == "subject"


def test_two_scores_of_a_subject_are_averaged() -> None:
    compared = frame(rows_of("A", [0.5]), rows_of("A", [0.7]), rows_of("B", [0.6]))
    row = only_row(wilcoxon_table(compared, CONFIG, focus="A"))
    assert (row["n"], row["n_1_better"], row["n_2_better"]) == (1, 0, 0)


def test_excluded_structures_and_ignored_subjects_are_left_out() -> None:
    compared = frame(
        *(rows_of(run, TEN, structure=name) for run in "AB" for name in ("rectum", "prostate"))
    )
    config = StatisticsConfig(exclude_structures=["rectum"], ignore_subjects=["P00", "P01"])
    row = only_row(wilcoxon_table(compared, config, focus="A"))
    assert (row["structure"], row["n"]) == ("prostate", 8)


def test_missed_counts_as_zero_and_absent_does_not_count() -> None:
    compared = frame(rows_of("A", [0.0, 0.8, np.nan]), rows_of("B", [0.5, 0.8, 0.9]))
    row = only_row(wilcoxon_table(compared, CONFIG, focus="A"))
    assert (row["n"], row["n_unpaired"], row["mean_2"]) == (2, 1, pytest.approx(40.0))


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        (TEN, TEN, "A (test): fewer than 5 scores differ in every structure"),
        ([0.5], [0.6], "A (test): fewer than 5 scores differ in every structure"),
        ([0.5, *[np.nan] * 9], [np.nan, *TEN], "A (test): no common subject"),
    ],
)
def test_what_is_not_tested_is_named_with_the_reason(
    ours: list[float], theirs: list[float], reason: str
) -> None:
    table = wilcoxon_table(frame(rows_of("A", ours), rows_of("B", theirs)), CONFIG, focus="A")
    assert table["z"].isna().all()
    assert table["verdict"].tolist() == [""]
    text = wilcoxon_text(table, CONFIG)
    assert NOT_ENOUGH in text
    assert f"B and {reason}" in text


def test_structures_of_one_run_only_are_noted() -> None:
    compared = frame(rows_of("A", TEN), rows_of("B", TEN, structure="bladder"))
    table = wilcoxon_table(compared, CONFIG, focus="A")
    assert table["note"].tolist() == ["scored in one run only"] * 2
    assert "B and A (test): scored in one run only" in wilcoxon_text(table, CONFIG)


def test_refused_comparisons_are_not_made() -> None:
    compared = frame(*(rows_of(run, TEN, split=split) for run in "AB" for split in ("val", "test")))
    refused = pd.DataFrame(
        [{"run_a": "A", "run_b": "B", "split": "val", "reason": "B was trained on P01"}]
    )
    table = wilcoxon_table(compared, CONFIG, focus="A", refused=refused)
    assert table.loc[table["split"] == "val", "note"].tolist() == ["refused: B was trained on P01"]
    assert table.loc[table["split"] == "test", "n"].tolist() == [10]
    assert "B and A (val): refused: B was trained on P01" in wilcoxon_text(table, CONFIG)


@pytest.mark.parametrize("rows", [[], rows_of("A", [0.5])])
def test_nothing_to_compare(rows: list[dict[str, object]]) -> None:
    compared = pd.DataFrame(rows, columns=list(rows_of("A", [0.5])[0]))
    table = wilcoxon_table(compared, CONFIG, focus="A")
    assert table.empty
    assert tuple(table.columns) == WILCOXON_COLUMNS
    assert wilcoxon_text(table, CONFIG).endswith(f"\n\n{NOT_ENOUGH}\n")
