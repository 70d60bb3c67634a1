"""How often a structure was missed, or found where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.results import all_rows
from crossfold.paper.figures.rows import Rows, arrange, column_of, draw_rows, write_column

_CONFIDENCE = 0.95
_MOST_ROWS = 160
_COLUMNS = [
    *("kind", "structure", "run", "n", "failed", "rate", "ci_low", "ci_high"),
    *("other_run", "p_adjusted"),
]
_LABELS = {"missed": "{}", "hallucinated": "{} (absent)"}


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw the rate of each structure and run, with its exact interval (Clopper and Pearson 1934).

    Missed structures are counted among the subjects that have them, hallucinated ones, in rows of
    their own, among those that do not: where it ever happened, or, if these were too many rows,
    over all structures.

    Parameters
    ----------
    inputs
        `compared`, and `failure_rates` for the tests.

    Raises
    ------
    EmptyFigure
        If there are no subjects.
    """
    table = _tabulate(inputs, context)
    config = context.config
    runs = [run for run in context.runs if (table["run"] == run).any()]
    blocks = list(dict.fromkeys(zip(table["kind"], table["structure"], strict=True)))
    labels = [_LABELS[kind].format(structure) for kind, structure in blocks]
    counts = [f"{int(failed)}/{int(n)}" for failed, n in table[["failed", "n"]].to_numpy()]
    table = table.assign(count=counts)
    columns = [column_of("failed/n", counts, config)]
    if table["p_adjusted"].notna().any():
        columns.append(column_of("adjusted p", [*map(_p, table["p_adjusted"])], config))
    rows = arrange(
        labels,
        len(runs),
        notes_mm=sum(column.width_mm + column.offset_mm for column in columns),
        legend_mm=style.legend_height_mm(runs if len(runs) > 1 else [], config.width_mm, config),
        config=config,
        widest_row_mm=4.5,
    )
    figure, panels = draw_rows(rows, config)
    highest = 100 * table["ci_high"].max()
    start = 0
    for axes, shown in zip(panels, rows.panels, strict=True):
        mine = blocks[start : start + len(shown)]
        start += len(shown)
        _draw_panel(axes, table, mine, runs, rows, context)
        left = 0.0
        for number, column in enumerate(columns):
            _write(axes, table, mine, runs, rows, column, number, left, context)
            left += column.width_mm + column.offset_mm
        axes.set_xlim(-0.02 * highest, 1.04 * highest)
        axes.set_xlabel("Failed (%)" if rows.plot_mm < 45 else "Failed (%), exact 95 % interval")
    handles = [
        Line2D(
            [],
            [],
            color=style.colour_of(run, context),
            marker=style.marker_of(run, context),
            label=run,
        )
        for run in (runs if len(runs) > 1 else ())
    ]
    style.legend(figure, handles, config)
    return figure, table.drop(columns="count")


def _tabulate(inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    rows = all_rows(inputs, context)
    if rows.empty:
        raise EmptyFigure("There are no subjects to count failures in.")
    present = rows["state"].isin(["ok", "missed"])
    rows = rows.astype({"structure": str, "run": str})
    invented = set(rows.loc[rows["state"] == "hallucinated", "structure"])
    absent = rows[~present & rows["structure"].isin(invented)]
    blocks = rows["structure"].nunique() + len(invented)
    if blocks * rows["run"].nunique() > _MOST_ROWS:
        absent = rows[~present].assign(structure="all structures")
    found = []
    for kind, among in (("missed", rows[present]), ("hallucinated", absent)):
        for (structure, run), block in among.groupby(["structure", "run"], sort=False):
            failed = int((block["state"] == kind).sum())
            interval = stats.binomtest(failed, len(block)).proportion_ci(_CONFIDENCE, "exact")
            rate = (len(block), failed, failed / len(block), interval.low, interval.high)
            found.append((kind, structure, run, *rate, "", np.nan))
    table = pd.DataFrame(found, columns=_COLUMNS)
    return _with_tests(table, inputs, context)


def _with_tests(table: pd.DataFrame, inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    """Write McNemar's adjusted p to the rows of the other run, where any subject failed."""
    if "failure_rates" not in inputs:
        return table
    tests = read_frame(inputs["failure_rates"])
    if "split" in tests:
        tests = tests[tests["split"] == context.split]
    tests = tests[(tests["model_a"] == context.run) & (tests["missed_a"] + tests["missed_b"] > 0)]
    known = tests.set_index(["structure", "model_b"])["p_adjusted"].to_dict()
    p = [
        known.get((structure, run), np.nan) if kind == "missed" else np.nan
        for kind, structure, run in zip(
            table["kind"], table["structure"], table["run"], strict=True
        )
    ]
    return table.assign(p_adjusted=p, other_run=np.where(np.isfinite(p), context.run, ""))


def _draw_panel(
    axes: Axes,
    table: pd.DataFrame,
    blocks: Sequence[tuple[str, str]],
    runs: Sequence[str],
    rows: Rows,
    context: Context,
) -> None:
    for number, run in enumerate(runs):
        mine = _of_run(table, blocks, run)
        y = [rows.y(place, number) for place in mine["place"]]
        colour = style.colour_of(run, context)
        axes.hlines(y, 100 * mine["ci_low"], 100 * mine["ci_high"], color=colour, linewidth=0.9)
        axes.plot(100 * mine["rate"], y, style.marker_of(run, context), color=colour, markersize=3)


def _write(
    axes: Axes,
    table: pd.DataFrame,
    blocks: Sequence[tuple[str, str]],
    runs: Sequence[str],
    rows: Rows,
    column: Any,
    number_of_column: int,
    left: float,
    context: Context,
) -> None:
    heights, texts = [], []
    for number, run in enumerate(runs):
        mine = _of_run(table, blocks, run)
        heights += [rows.y(place, number) for place in mine["place"]]
        texts += mine["count"].tolist() if number_of_column == 0 else [*map(_p, mine["p_adjusted"])]
    write_column(axes, heights, texts, column, left, context.config)


def _of_run(table: pd.DataFrame, blocks: Sequence[tuple[str, str]], run: str) -> pd.DataFrame:
    places = pd.DataFrame(
        [(*block, place) for place, block in enumerate(blocks)],
        columns=["kind", "structure", "place"],
    )
    return table[table["run"] == run].merge(places, on=["kind", "structure"])


def _p(p: float) -> str:
    return style.p_text(p).removeprefix("p ").removeprefix("= ")
