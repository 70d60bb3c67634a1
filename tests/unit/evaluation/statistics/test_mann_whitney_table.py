from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.mann_whitney_table import (
    MANN_WHITNEY_COLUMNS,
    mann_whitney_table,
    mann_whitney_text,
    z_test_p,
)
from crossfold.evaluation.statistics.wilcoxon_table import NOT_ENOUGH

CONFIG = StatisticsConfig()
TEN = [0.80 + 0.01 * i for i in range(10)]


def rows_of(
    institution: str,
    scores: Iterable[float],
    *,
    run: str = "A",
    structure: str = "prostate",
    split: str = "val",
    fold: str = "0",
    group: str = "",
) -> list[dict[str, object]]:
    return [
        {
            "run": run,
            "split": split,
            "fold": fold,
            "subject": f"{run}_{institution}_{i}",
            "group": group and f"{run}_{institution}_{group}_{i // 2}",
            "institution": institution,
            "structure": structure,
            "dice": dice,
        }
        for i, dice in enumerate(scores)
    ]


def frame(*rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame([row for some in rows for row in some])


def test_the_larger_group_is_i_whatever_the_order() -> None:
    for one, two in (("a", "b"), ("b", "a")):
        low, high = TEN, [score + 0.045 for score in TEN]
        table = mann_whitney_table(frame(rows_of(one, low), rows_of(two, high)), CONFIG)
        assert len(table) == 1
        row = table.iloc[0]
        assert (row["group_i"], row["group_j"]) == (two, one)
        # Of 100 pairs, a score of I is below one of J in 4 + 3 + 2 + 1 + ... : 15.
        assert row["roc"] == pytest.approx(0.15)
        i, j = 100 * np.array(high), 100 * np.array(low)
        expected = stats.mannwhitneyu(i, j, alternative="two-sided").pvalue
        assert row["p_mann_whitney"] == pytest.approx(expected)
        standard_error = np.sqrt(i.var(ddof=1) / 10 + j.var(ddof=1) / 10)
        assert row["p_normal"] == pytest.approx(stats.norm.cdf(-4.5 / standard_error))
        assert (row["mean_i"], row["std_i"]) == (pytest.approx(89.0), pytest.approx(3.02765, 1e-5))


@pytest.mark.parametrize(
    ("i", "j", "p"),
    [
        ([3.0, 3.0], [2.0, 4.0], 0.5),
        ([3.0, 3.0], [4.0, 4.0], 0.0),
        # Means 3 and 4, variances 1, five scores each: z = 1 / sqrt(0.4).
        ([3, 3, 3, 3 + 2**0.5, 3 - 2**0.5], [4, 4, 4, 4 + 2**0.5, 4 - 2**0.5], 0.0569231),
    ],
)
def test_z_test(i: list[float], j: list[float], p: float) -> None:
    assert z_test_p(np.array(i, dtype=float), np.array(j, dtype=float)) == pytest.approx(
        p, abs=1e-6
    )


def test_ties_count_half() -> None:
    table = mann_whitney_table(frame(rows_of("a", TEN), rows_of("b", TEN)), CONFIG)
    assert table["roc"].tolist() == [0.5]
    assert table["p_normal"].tolist() == [0.5]


def test_constant_scores_are_compared() -> None:
    table = mann_whitney_table(frame(rows_of("a", [0.9] * 10), rows_of("b", [0.9] * 12)), CONFIG)
    row = table.iloc[0]
    assert (row["roc"], row["p_mann_whitney"], row["p_normal"]) == (0.5, 1.0, 0.5)


def test_text_to_the_letter() -> None:
    better = [score + 0.1 for score in TEN]
    compared = frame(
        rows_of("Hospital of the North", TEN),
        rows_of("Südklinik", better),
        rows_of("c", TEN[:4]),
        rows_of("", TEN[:2]),
        rows_of("Hospital of the North", TEN, structure="bladder"),
        rows_of("Südklinik", TEN, structure="bladder"),
    )
    text = mann_whitney_text(mann_whitney_table(compared, CONFIG))
    explanation, section, tables = text.partition("\nFor A")
    assert section + tables == (
        """
For A (val):
1: Hospital of the North
2: Südklinik

   ROC  Mann-Wht p    Normal p  | I  N(I)  Mean(I)  Std(I)  | J  N(J)  Mean(J)  Std(J)  | Structure
0.0000  1.8267e-04  7.5947e-14  | 2    10  94.5000  3.0277  | 1    10  84.5000  3.0277  | prostate
0.5000  1.0000e+00  5.0000e-01  | 1    10  84.5000  3.0277  | 2    10  84.5000  3.0277  | bladder

Not compared:
  For A (val): 2 subjects without an institution are left out
  For A (val): fewer than 10 scores of any structure: c (4)
"""
    )
    assert "I is the one with the larger scores" in explanation
    assert max(map(len, explanation.splitlines())) <= 100


def test_nine_scores_are_too_few() -> None:
    table = mann_whitney_table(frame(rows_of("a", TEN[:9]), rows_of("b", TEN)), CONFIG)
    assert table["note"].tolist() == ["fewer than 10 scores of any structure: a (9)"]
    assert NOT_ENOUGH in mann_whitney_text(table)


def test_groups_without_a_common_structure_are_noted() -> None:
    compared = frame(rows_of("a", TEN), rows_of("b", TEN, structure="bladder"))
    table = mann_whitney_table(compared, CONFIG)
    assert table["note"].tolist() == ["no two groups have 10 scores of the same structure"]


def test_scans_of_a_patient_count_once() -> None:
    compared = frame(rows_of("a", TEN * 2, group="x"), rows_of("b", TEN * 2))
    row = mann_whitney_table(compared, CONFIG).iloc[0]
    assert {row["group_i"]: row["n_i"], row["group_j"]: row["n_j"]} == {"a": 10, "b": 20}


def test_folds_are_no_groups_of_their_own() -> None:
    compared = frame(
        *(
            rows_of(institution, TEN, split="test", fold=fold)
            for institution in "ab"
            for fold in ("0", "1", "ensemble")
        )
    )
    table = mann_whitney_table(compared, CONFIG)
    assert table[["split", "n_i", "n_j"]].to_numpy().tolist() == [["test", 10, 10]]


def test_runs_without_common_subjects_are_cohorts() -> None:
    compared = frame(
        rows_of("", TEN, run="A"),
        rows_of("", [score - 0.05 for score in TEN], run="B"),
        rows_of("", TEN[:3], run="C"),
    )
    table = mann_whitney_table(compared, CONFIG)
    cohorts = table[table["kind"] == "cohorts"]
    assert cohorts["note"].tolist() == ["fewer than 10 scores of any structure: C (3)", ""]
    assert cohorts[["i", "group_i", "j", "group_j"]].to_numpy().tolist()[1] == [1, "A", 2, "B"]
    assert "For different cohorts (val):\n1: A\n2: B\n" in mann_whitney_text(table)


def test_runs_with_a_common_subject_are_not() -> None:
    other = rows_of("", TEN, run="B")
    other[0]["subject"] = "A__0"
    table = mann_whitney_table(frame(rows_of("", TEN, run="A"), other), CONFIG)
    assert set(table["note"]) == {"no institution is known"}


def test_groups_are_numbered_within_all_cohorts() -> None:
    compared = frame(
        *(
            rows_of("", [score + shift for score in TEN], run=run)
            for run, shift in (("A", 0.0), ("B", 0.02), ("C", 0.05))
        )
    )
    table = mann_whitney_table(compared, CONFIG)
    cohorts = table[table["structure"] != ""]
    names = set(zip(cohorts["i"], cohorts["group_i"], strict=True))
    names |= set(zip(cohorts["j"], cohorts["group_j"], strict=True))
    assert names == {(1, "A"), (2, "B"), (3, "C")}
    assert cohorts["p_mann_whitney"].is_monotonic_increasing


def test_refused_comparisons_are_noted() -> None:
    compared = frame(
        rows_of("a", TEN, run="A"), rows_of("b", TEN, run="A"), rows_of("", TEN, run="B")
    )
    refused = pd.DataFrame(
        [
            {"run_a": "A", "run_b": "A", "split": "val", "reason": "A was trained on P01"},
            {"run_a": "B", "run_b": "A", "split": "val", "reason": "A was trained on P01"},
        ]
    )
    table = mann_whitney_table(compared, CONFIG, refused=refused)
    assert "refused: A was trained on P01" in table["note"].tolist()
    assert "A and B: refused: A was trained on P01" in table["note"].tolist()
    assert (table["structure"] == "").all()


def test_left_out_structures_and_subjects_and_absent_ones() -> None:
    compared = frame(
        rows_of("a", [*TEN, np.nan]),
        rows_of("b", [*TEN, 0.1]),
        rows_of("a", TEN, structure="rectum"),
        rows_of("b", TEN, structure="rectum"),
    )
    config = StatisticsConfig(exclude_structures=["rectum"], ignore_subjects=["A_b_10"])
    table = mann_whitney_table(compared, config)
    assert table[["structure", "n_i", "n_j"]].to_numpy().tolist() == [["prostate", 10, 10]]


def test_nothing_to_compare() -> None:
    compared = pd.DataFrame(columns=list(rows_of("a", [0.5])[0]))
    table = mann_whitney_table(compared, CONFIG)
    assert table.empty
    assert tuple(table.columns) == MANN_WHITNEY_COLUMNS
    assert mann_whitney_text(table).endswith(f"\n\n{NOT_ENOUGH}\n")
