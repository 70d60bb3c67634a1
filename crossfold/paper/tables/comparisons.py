"""The planned comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from crossfold.paper.facts import Facts
from crossfold.paper.tables.layout import Cell, Column, Table
from crossfold.paper.tables.notes import software_note, tolerance_note
from crossfold.paper.tables.numbers import (
    confidence_in_percent,
    decimals_of,
    in_lines,
    number,
    p_value,
)

COLUMNS = [
    *("comparison_id", "run_a", "run_b", "split", "design", "structure", "metric", "unit"),
    *("better", "n", "n_a", "n_b", "n_dropped", "n_failed_a", "n_failed_b"),
    *("median_a", "median_b", "diff_hl", "diff_ci_low", "diff_ci_high", "diff_mean"),
    *("test", "statistic", "p_raw", "correction", "m", "p_adjusted"),
    *("effect_name", "effect", "effect_ci_low", "effect_ci_high", "p_a_better"),
    *("folds_agree", "margin", "verdict", "reason"),
]
METRIC_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "nsd": "NSD",
    "hd_mm": "HD (mm)",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
}
_CORRECTIONS = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}
_USUAL_DECIMALS = 2
_TESTS = {
    "wilcoxon_exact": "exact Wilcoxon signed-rank",
    "wilcoxon_asymptotic": "asymptotic Wilcoxon signed-rank",
    "mann_whitney_exact": "exact Mann-Whitney U",
    "mann_whitney_asymptotic": "asymptotic Mann-Whitney U",
}
_EFFECTS = {
    "rank_biserial": "matched-pairs rank-biserial correlation",
    "cliffs_delta": "Cliff's delta",
}


def table(facts: Facts, comparisons: pd.DataFrame) -> Table:
    """Lay out the comparisons of the planned family; see `COLUMNS` for its frame.

    Parameters
    ----------
    facts
        What is known of the run.
    comparisons
        comparisons.csv, or an empty frame.
    """
    frame = pd.DataFrame(columns=COLUMNS)
    if not comparisons.empty:
        planned = comparisons[comparisons["role"] == "confirmatory"]
        frame = planned.reindex(columns=COLUMNS).reset_index(drop=True)
        names = frame["run_a"] + " − " + frame["run_b"]
        frame.insert(0, "comparison", names)
    else:
        frame.insert(0, "comparison", "")
    interval = f"({confidence_in_percent(facts.statistics.confidence)} CI)"
    decimals = {
        metric: decimals_of(rows["diff_ci_high"] - rows["diff_ci_low"], _USUAL_DECIMALS)
        for metric, rows in frame.groupby("metric")
    }
    alpha = facts.statistics.alpha

    def difference(row: Any) -> Cell:
        estimate = (row.diff_hl, row.diff_ci_low, row.diff_ci_high)
        lines = in_lines(*estimate, decimals[row.metric])
        return Cell(lines, bold=bool(row.p_adjusted < alpha))

    return Table(
        label=f"tab:{facts.run}:comparisons",
        caption=f"Planned comparisons of {facts.run}, {_about(frame, facts)}.",
        notes=tuple(_notes(facts, frame)),
        frame=frame,
        columns=(
            Column(("Comparison",), 14, lambda row: row.comparison, "left"),
            Column(("Structure",), 13, lambda row: row.structure, "left"),
            Column(("Metric",), 9, lambda row: METRIC_NAMES.get(row.metric, row.metric), "left"),
            Column(("n", "(failed)"), 8, _counts),
            Column(("Difference", interval), 19, difference),
            Column(("p", "(adj.)"), 9, lambda row: p_value(row.p_adjusted, alpha)),
            Column(("Effect", interval), 16, _effect),
            Column(("Verdict",), 12, _verdict, "left"),
        ),
        groups=("comparison", "structure"),
        if_empty="No comparison was planned.",
    )


def _about(frame: pd.DataFrame, facts: Facts) -> str:
    splits = frame["split"].unique()
    words = {"val": "all subjects out of fold", "test": "test set"}
    return " and ".join(words[split] for split in splits) or facts.split_in_words


def _counts(row: Any) -> Cell:
    if row.design == "unpaired":
        counts = " + ".join(_integer(count) for count in (row.n_a, row.n_b))
    else:
        counts = _integer(row.n)
    return Cell.of(counts, f"({_integer(row.n_failed_a)}, {_integer(row.n_failed_b)})")


def _integer(count: float) -> str:
    return number(float(count), 0)


def _effect(row: Any) -> Cell:
    return Cell(in_lines(row.effect, row.effect_ci_low, row.effect_ci_high, 2))


def _verdict(row: Any) -> str:
    return {
        "a_better": f"{row.run_a} better",
        "b_better": f"{row.run_b} better",
        "non_inferior": f"{row.run_a} not inferior",
        "not_computed": "not computed",
    }.get(row.verdict, row.verdict)


def _named(column: pd.Series, words: Mapping[str, str]) -> str:
    """List what a column holds, in words."""
    return ", ".join(words.get(name, name) for name in column.unique() if name)


def _notes(facts: Facts, frame: pd.DataFrame) -> Iterator[str]:
    if frame.empty:
        yield software_note(facts)
        return
    first = frame.iloc[0]
    tests = _named(frame["test"], _TESTS)
    corrections = _named(frame["correction"], _CORRECTIONS)
    effects = _named(frame["effect_name"], _EFFECTS)
    yield (
        "Difference: Hodges-Lehmann estimate of first minus second run, in the unit of the metric. "
        f"Test: {tests}, two-sided; p adjusted after {corrections} for "
        f"{_integer(first['m'])} comparisons; bold where it is below {facts.statistics.alpha:g}. "
        f"Effect: {effects}. Failed: in the first and in the second run."
    )
    margins = frame.dropna(subset=["margin"]).drop_duplicates("metric")
    for row in margins.itertuples():
        yield f"Margin of non-inferiority for {METRIC_NAMES[str(row.metric)]}: {row.margin:g}."
    unusual = frame[frame["verdict"].isin(["refused", "not_computed"])]
    for row in unusual.drop_duplicates(["comparison", "reason"]).itertuples():
        verdict, reason = str(row.verdict).replace("_", " "), str(row.reason).rstrip(".")
        yield f"{row.comparison} {verdict}: {reason}."
    yield tolerance_note(facts)
    yield software_note(facts)
