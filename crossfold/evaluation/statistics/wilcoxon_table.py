"""Wilcoxon signed-rank tests in the layout and by the rules of InnerEye.

For readers who compare with earlier tables. The rules: differences of Dice in percent, run 2 minus
run 1, of the scores that both runs have; equal scores are left out; mid-ranks of the absolute
differences; z = W / sqrt(n (n + 1) (2 n + 1) / 6), where W is the sum of the signed ranks, without
corrections for ties or continuity; p = Phi(z), so that small p mean that run 2 is worse. z and p
are given where five scores differ.

What differs from InnerEye: z is not divided by a factor unless `statistics.structure_factors` says
so; differences that are equal but for rounding are ties; two scores of the same series or subject
in one run are averaged, where InnerEye took the last one; the level of significance is the
configured one, which InnerEye ignored; nothing is left out without a note; names are aligned.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crossfold.config.statistics import StatisticsConfig
from crossfold.data.text_tables import fixed_width
from crossfold.evaluation.results import result_rows

WILCOXON_COLUMNS = (
    *("split", "kind", "run_1", "run_2", "paired_by", "structure", "n", "n_unpaired"),
    *("mean_1", "mean_2", "n_1_better", "n_2_better", "median_1", "median_2"),
    *("z", "factor", "p", "verdict", "note"),
)
NOT_ENOUGH = "There were not enough data points for any statistically meaningful comparisons."

_COUNTS = ["n", "n_unpaired", "n_1_better", "n_2_better"]
_MIN_DIFFERENT = 5
_DECIMALS = 9  # differences of Dice in percent that are closer than this are equal
_FACTORS = {"external": 2.0, "skin": 2.0}
_OTHER_FACTOR = 1.25
_TITLES = {
    ("members", "test"): "Folds and ensemble of the same model, on the test set",
    ("runs", "val"): "Runs on subjects that their folds were not trained on (val)",
    ("runs", "test"): "Runs on the test set",
}


@dataclass(frozen=True)
class _Pair:
    """Two runs with their rows; `kind` says whether they are members of one model."""

    split: str
    kind: str
    run_1: str
    run_2: str
    rows_1: pd.DataFrame
    rows_2: pd.DataFrame


def wilcoxon_table(
    compared: pd.DataFrame,
    config: StatisticsConfig,
    *,
    focus: str,
    refused: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Test pairs of runs, per structure.

    The folds of the focus run and its ensemble are compared with each other on the test set, or
    with one of them alone if `config.reference` names it (`<run> fold 0`, `<run> ensemble`). Runs
    are compared with the reference, which is run 2, or all with all, on val and on test.

    Parameters
    ----------
    compared
        compared.csv: run, split, fold, subject, series, structure, dice. Text is text: a missing
        fold or series is empty.
    config
        Level, pairs, reference, structures and subjects to leave out, structure factors.
    focus
        Run that the report is about.
    refused
        Comparisons not to be made: run_a, run_b (in either order), split, reason.

    Returns
    -------
    DataFrame
        `WILCOXON_COLUMNS`: Dice in percent; z and p are empty below five different scores; verdict
        is BETTER, WORSE or empty; note says why a row has no numbers.
    """
    kept = compared[
        ~compared["structure"].isin(config.exclude_structures)
        & ~compared["subject"].isin(config.ignore_subjects)
        & compared["dice"].notna()
    ]
    reasons = refusals(refused)
    rows: list[dict[str, Any]] = []
    for pair in _pairs(kept, config, focus):
        about = {
            "split": pair.split,
            "kind": pair.kind,
            "run_1": pair.run_1,
            "run_2": pair.run_2,
        }
        reason = reasons.get((pair.split, frozenset((pair.run_1, pair.run_2))))
        if reason is not None:
            rows.append({**about, "note": f"refused: {reason}"})
        else:
            rows += [about | row for row in _compare(pair, config)]
    blank = dict.fromkeys(["paired_by", "structure", "verdict", "note"], "")
    table = pd.DataFrame([blank | row for row in rows], columns=list(WILCOXON_COLUMNS))
    return table.astype(dict.fromkeys(_COUNTS, "Int64"))


def signed_rank_z(differences: NDArray[np.float64]) -> float:
    """Sum of signed ranks of the differences that are not zero, over its standard deviation.

    Positive where the differences are; 0 where all are zero. No correction for ties or continuity
    (Wilcoxon, Biometrics Bulletin 1945).
    """
    rounded = np.round(differences, _DECIMALS)
    different = rounded[rounded != 0]
    n = different.size
    if n == 0:
        return 0.0
    signed_ranks = np.sign(different) * stats.rankdata(np.abs(different))
    return float(signed_ranks.sum() / np.sqrt(n * (n + 1) * (2 * n + 1) / 6))


def wilcoxon_text(table: pd.DataFrame, config: StatisticsConfig) -> str:
    """Lay out `wilcoxon_table` as InnerEye did, with an explanation in front.

    A pair of runs is printed if at least one of its structures has five different scores; pairs
    that are not are named at the end, with the reason.
    """
    sections, silent, title = [], [], ""
    keys = ["split", "kind", "run_1", "run_2"]
    for (split, kind, run_1, run_2), rows in table.groupby(keys, sort=False):
        if rows["z"].isna().all():
            silent.append(f"  {run_1} and {run_2} ({split}): {_why_silent(rows)}")
            continue
        if title != (title := _TITLES[str(kind), str(split)]):
            sections.append(f"--- {title} ---")
        sections.append(f"Run 1: {run_1}\nRun 2: {run_2}\n{_layout(rows)}")
    if not sections:
        sections.append(NOT_ENOUGH)
    if silent:
        sections.append("\n".join(["Pairs of runs without a table:", *silent]))
    return "\n\n".join([_explanation(config), *sections]) + "\n"


def _pairs(compared: pd.DataFrame, config: StatisticsConfig, focus: str) -> Iterator[_Pair]:
    of_run = {str(run): rows for run, rows in compared.groupby("run", sort=False)}
    test = of_run.get(focus, compared.head(0)).query("split == 'test'")
    names = {fold: f"{focus} fold {fold}" for fold in sorted(set(test["fold"]), key=_fold_order)}
    names |= {"ensemble": f"{focus} ensemble"} if "ensemble" in names else {}
    members = {name: test[test["fold"] == fold] for fold, name in names.items()}
    member_reference = config.reference if config.reference in members else ""
    yield from _matched("test", "members", members, member_reference)
    reference = config.reference if config.reference in of_run else focus
    if config.pairs == "all":
        reference = ""
    for split in ("val", "test"):
        runs = {run: result_rows(rows, split) for run, rows in of_run.items()}
        runs = {run: rows for run, rows in runs.items() if not rows.empty}
        if reference and reference not in runs:
            continue
        yield from _matched(split, "runs", runs, reference)


def _matched(
    split: str, kind: str, runs: dict[str, pd.DataFrame], reference: str
) -> Iterator[_Pair]:
    """All pairs, or those with the reference, which comes second."""
    pairs = (
        [(run, reference) for run in runs if run != reference]
        if reference
        else itertools.combinations(runs, 2)
    )
    for run_1, run_2 in pairs:
        yield _Pair(split, kind, run_1, run_2, runs[run_1], runs[run_2])


def _compare(pair: _Pair, config: StatisticsConfig) -> Iterator[dict[str, Any]]:
    """One row per structure of either run, or one that says that they share no subject."""
    with_series = all((rows["series"] != "").all() for rows in (pair.rows_1, pair.rows_2))
    key = "series" if with_series else "subject"
    if not set(pair.rows_1[key]) & set(pair.rows_2[key]):
        yield {"paired_by": key, "note": f"no common {key}"}
        return
    scores_1, scores_2 = (
        100 * rows.groupby(["structure", key], sort=False)["dice"].mean()
        for rows in (pair.rows_1, pair.rows_2)
    )
    structures = dict.fromkeys([*pair.rows_1["structure"], *pair.rows_2["structure"]])
    for structure in structures:
        both = pd.DataFrame(
            {
                "one": scores_1[scores_1.index.get_level_values(0) == structure],
                "two": scores_2[scores_2.index.get_level_values(0) == structure],
            }
        )
        paired = both.dropna()
        row = {
            "paired_by": key,
            "structure": structure,
            "n": len(paired),
            "n_unpaired": len(both) - len(paired),
        }
        if paired.empty:
            yield row | {"note": "scored in one run only"}
        else:
            one, two = paired["one"].to_numpy(), paired["two"].to_numpy()
            yield row | _statistics(one, two, structure, config)


def _statistics(
    one: NDArray[np.float64], two: NDArray[np.float64], structure: str, config: StatisticsConfig
) -> dict[str, Any]:
    differences = np.round(two - one, _DECIMALS)
    row: dict[str, Any] = {
        "mean_1": one.mean(),
        "mean_2": two.mean(),
        "n_1_better": np.count_nonzero(differences < 0),
        "n_2_better": np.count_nonzero(differences > 0),
        "median_1": np.median(one),
        "median_2": np.median(two),
    }
    if np.count_nonzero(differences) < _MIN_DIFFERENT:
        return row | {"note": f"fewer than {_MIN_DIFFERENT} different scores"}
    z = signed_rank_z(differences)
    factor = _FACTORS.get(structure.lower(), _OTHER_FACTOR) if config.structure_factors else 1.0
    p = float(stats.norm.cdf(z / factor))
    verdict = "WORSE" if p < config.alpha / 2 else "BETTER" if p > 1 - config.alpha / 2 else ""
    return row | {"z": z, "factor": factor, "p": p, "verdict": verdict}


def refusals(refused: pd.DataFrame | None) -> dict[tuple[str, frozenset[str]], str]:
    """Reason by split and pair of runs, of a table with run_a, run_b, split and reason."""
    if refused is None:
        return {}
    rows = refused[["split", "run_a", "run_b", "reason"]].itertuples(index=False)
    return {(split, frozenset((run_a, run_b))): reason for split, run_a, run_b, reason in rows}


def _fold_order(fold: str) -> tuple[bool, int, str]:
    """Numbers in their order, then names."""
    return not fold.isdigit(), int(fold) if fold.isdigit() else 0, fold


def _layout(rows: pd.DataFrame) -> str:
    shown = rows[rows["n"] > 0]
    tested = shown["z"].notna()
    columns = {"Name": shown["structure"], "N": shown["n"].map(str)}
    for title, name in (("Mean1", "mean_1"), ("Mean2", "mean_2")):
        columns[title] = shown[name].map("{:.3f}".format)
    for title, name in (("N1>2", "n_1_better"), ("N2>1", "n_2_better")):
        columns[title] = shown[name].map(str)
    for title, name in (("Med1", "median_1"), ("Med2", "median_2")):
        columns[title] = shown[name].map("{:.3f}".format)
    for title, name in (("WilcZ", "z"), ("WilcP", "p")):
        columns[title] = shown[name].map("{:.3f}".format).where(tested, "")
    columns["2_vs_1"] = shown["verdict"]
    lines = [fixed_width(pd.DataFrame(columns), left=["Name", "2_vs_1"])]
    unpaired = rows[rows["n_unpaired"] > 0]
    if not unpaired.empty:
        counts = zip(unpaired["structure"], unpaired["n_unpaired"], strict=True)
        listed = ", ".join(f"{structure} {count}" for structure, count in counts)
        lines.append(f"Left out, as only one run has a score: {listed}")
    return "\n".join(lines)


def _why_silent(rows: pd.DataFrame) -> str:
    """Reason why no structure of a pair of runs has a test."""
    if (rows["n"] > 0).any():
        return f"fewer than {_MIN_DIFFERENT} scores differ in every structure"
    return str(rows["note"].iloc[0])


def _explanation(config: StatisticsConfig) -> str:
    low, high = config.alpha / 2, 1 - config.alpha / 2
    divided = "by 1.25, and by 2.0 for external and skin, before p was computed"
    factors = (
        f"z was divided {divided}. statistics.structure_factors switches that off."
        if config.structure_factors
        else "z was not divided by a factor. statistics.structure_factors switches on what "
        f"InnerEye did: it was divided {divided}."
    )
    factors += (
        " The factors were found by InnerEye's authors: runs that differ in nothing but their seed "
        "showed too many differences without them."
    )
    return f"""\
Wilcoxon signed-rank test: Dice (%) of two runs for the same subjects, in the layout of InnerEye

N             scores that both runs have, paired by series, or by subject if a run has no series
Mean1, Mean2  mean of the Dice of run 1 and run 2; a structure that was missed counts as 0
N1>2, N2>1    in how many of them run 1 is better, and run 2; the rest is equal
Med1, Med2    medians
WilcZ         signed ranks of run 2 - run 1, summed, over their standard deviation; without equal
              scores, and without corrections; only where {_MIN_DIFFERENT} scores or more differ
WilcP         probability of such a z or a lower one if the runs were equal
2_vs_1        BETTER or WORSE: run 2 against run 1, if WilcP is above {high:g} or below {low:g}

{textwrap.fill(factors, 100)}

Read BETTER and WORSE with care where N is small: the exact two-sided p of 5 scores cannot be below
0.0625. Nothing here is corrected for the number of tests, and p does not say how large a difference
is. comparisons.csv has what belongs into a paper: exact p, corrected; differences with intervals;
effect sizes."""
