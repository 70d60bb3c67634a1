"""The headline: every structure, out of fold and by the ensemble, and in the compared runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals
from crossfold.evaluation.tables import METRICS
from crossfold.paper.facts import Facts
from crossfold.paper.facts.limitations import FEWEST_FOR_INTERVAL
from crossfold.paper.tables.layout import Cell, Column, Table
from crossfold.paper.tables.notes import software_note, states_note, subjects_note, tolerance_note
from crossfold.paper.tables.numbers import (
    confidence_in_percent,
    decimals_of,
    in_lines,
    with_quartiles,
)

SHOWN = ("dice", "nsd", "hd95_mm")
_TITLES = {"dice": "Dice", "nsd": "NSD", "hd95_mm": "HD95 (mm)"}
_WHERE = {"val": "out of fold", "test": "in the test set"}
_USUAL_DECIMALS = {"dice": 2, "nsd": 2, "hd95_mm": 1}
_STATISTICS = ("median", "q1", "q3", "mean", "ci_low", "ci_high")
RESULTS = {"val": "out of fold", "test": "test"}
# Stands for inf where numpy would compute inf - inf; its square is still finite.
_HUGE = 1e100


def table(facts: Facts, compared: pd.DataFrame) -> Table:
    """Lay out the headline.

    Parameters
    ----------
    facts
        What is known of the run.
    compared
        compared.csv, or an empty frame.
    """
    frame = pd.DataFrame([*_own(facts), *_others(facts, compared)], columns=_COLUMNS)
    order = {name: position for position, name in enumerate(facts.structures)}
    frame = frame[frame["structure"].isin(order)].sort_values(
        ["structure", "split"],
        key=lambda column: column.map(order) if column.name == "structure" else column != "val",
        kind="stable",
        ignore_index=True,
    )
    counts = ", ".join(f"{count} subjects {_WHERE[split]}" for split, count in _subjects(facts))
    return Table(
        label=f"tab:{facts.run}:main",
        caption=f"Accuracy of {facts.run} by structure ({counts}).",
        notes=tuple(_notes(facts)),
        frame=frame,
        columns=(
            Column(("Structure",), 13, lambda row: row.structure, "left"),
            who_column(facts, frame, 13),
            Column(("n", "(failed)"), 8, lambda row: Cell.of(str(row.n), f"({row.n_failed})")),
            *(_metric_column(metric, frame, facts) for metric in SHOWN),
        ),
        groups=("structure",),
        if_empty="No structure was measured.",
    )


_COLUMNS = [
    *("structure", "result", "run", "split", "n", "n_absent", "n_failed"),
    *(f"{metric}_{statistic}" for metric in SHOWN for statistic in _STATISTICS),
]


def who_column(facts: Facts, frame: pd.DataFrame, share: float) -> Column:
    """Return the column that says whose results, and on whom; the run only if there are others."""
    several = (frame["run"] != facts.run).any()

    def cell(row: Any) -> Cell:
        return Cell.of(row.run, row.result) if several else Cell.of(row.result)

    return Column(("Run", "subjects") if several else ("Subjects",), share, cell, "left")


def _subjects(facts: Facts) -> Iterator[tuple[str, int]]:
    """Yield each split with its number of subjects."""
    for split, count in (("val", facts.splits.development), ("test", facts.splits.test)):
        if facts.of_split(split):
            yield split, count


def _metric_column(metric: str, frame: pd.DataFrame, facts: Facts) -> Column:
    """Two lines: median and quartiles; then what the confidence interval is of."""
    names = [f"{metric}_{statistic}" for statistic in _STATISTICS]
    decimals = decimals_of(frame[names[5]] - frame[names[4]], _USUAL_DECIMALS[metric])
    of_mean = _is_of_mean(metric)
    interval = f"{confidence_in_percent(facts.statistics.confidence)} CI"

    def cell(row: Any) -> Cell:
        median, low_quartile, high_quartile, mean, low, high = (
            getattr(row, name) for name in names
        )
        first = with_quartiles(median, low_quartile, high_quartile, decimals)
        if of_mean:
            return Cell.of(first, " ".join(in_lines(mean, low, high, decimals)))
        _, *interval = in_lines(median, low, high, decimals)
        return Cell.of(first, *interval)

    second = f"mean ({interval})" if of_mean else f"({interval})"
    return Column((_TITLES[metric], "median [Q1, Q3]", second), 23 if of_mean else 20, cell)


def _is_of_mean(metric: str) -> bool:
    """Whether the confidence interval is that of the mean, or else that of the median."""
    return bool(METRICS.loc[metric, "ci_statistic"] == "mean")


def _own(facts: Facts) -> Iterator[dict[str, Any]]:
    for split, _ in _subjects(facts):
        for structure in facts.structures:
            results = {metric: facts.result(structure, metric, split) for metric in SHOWN}
            dice = results["dice"]
            if dice is None:
                continue
            yield {
                "structure": structure,
                "result": RESULTS[split],
                "run": facts.run,
                "split": split,
                "n": dice.n,
                "n_absent": dice.n_absent,
                "n_failed": dice.n_failed,
                **{
                    f"{metric}_{statistic}": getattr(result, statistic)
                    for metric, result in results.items()
                    for statistic in _STATISTICS
                },
            }


def _others(facts: Facts, compared: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the results of the compared runs, summarised as `summarise_metrics` does."""
    if compared.empty:
        return
    others = compared[compared["run"] != facts.run]
    others = others[(others["split"] == "val") | others["fold"].isin(["ensemble", ""])]
    for (run, split, structure), rows in others.groupby(
        ["run", "split", "structure"], sort=False, observed=True
    ):
        present = rows[rows["state"] != "true_absent"]
        failed = present.loc[present["state"] != "ok", "subject"].nunique()
        # Several seeds or scans of a subject count once.
        values = present.groupby("subject")[[*SHOWN]].mean()
        yield {
            "structure": structure,
            "result": RESULTS[str(split)],
            "run": run,
            "split": split,
            "n": len(values),
            "n_failed": failed,
            "n_absent": rows["subject"].nunique() - len(values),
            **_summary(values, facts),
        }


def _summary(values: pd.DataFrame, facts: Facts) -> dict[str, float]:
    summary = {}
    for metric in SHOWN:
        column = values[metric].to_numpy()
        known = column[~np.isnan(column)]
        quartiles = [np.nan] * 3
        if len(known):
            quartiles = [*np.quantile(np.where(np.isinf(known), _HUGE, known), [0.5, 0.25, 0.75])]
        low, high = np.array([np.nan]), np.array([np.nan])
        if len(known) >= FEWEST_FOR_INTERVAL:
            low, high = bootstrap_intervals(
                column[:, None],
                "mean" if _is_of_mean(metric) else "median",
                confidence=facts.statistics.confidence,
                resamples=facts.statistics.resamples,
                seed=facts.statistics.seed,
            )
        mean = known.mean() if len(known) and np.isfinite(known).all() else np.nan
        quartiles = [np.inf if value > np.sqrt(_HUGE) else value for value in quartiles]
        for name, value in zip(_STATISTICS, (*quartiles, mean, low[0], high[0]), strict=True):
            summary[f"{metric}_{name}"] = float(value)
    return summary


def _notes(facts: Facts) -> Iterator[str]:
    statistics = facts.statistics
    yield (
        "Median [first quartile, third quartile] over subjects. Confidence intervals (CI) by "
        f"bootstrap over subjects with {statistics.resamples} resamples: BCa for the means of Dice "
        "and NSD, percentile for the median of HD95; none for fewer than "
        f"{FEWEST_FOR_INTERVAL} subjects."
    )
    yield subjects_note(facts)
    yield states_note()
    yield tolerance_note(facts)
    yield software_note(facts)
