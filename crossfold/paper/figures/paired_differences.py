"""Differences between runs, subject by subject: what two boxes side by side do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.results import (
    FAILED,
    comparisons_of_runs,
    is_distance,
    result_rows,
    with_hub,
)
from crossfold.paper.figures.rows import column_of, write_column

_ESTIMATES = ["n", "diff_hl", "diff_ci_low", "diff_ci_high", "p_adjusted", "margin", "verdict"]
_COLUMNS = [
    *("kind", "run_a", "run_b", "structure", "subject", "state_a", "state_b", "difference"),
    *_ESTIMATES,
    "reason",
]
_TALLEST_ROW_MM = 8.0
_MOST_PANELS_WITH_NOTES = 2
_SHARE_IN_RANGE = 0.97


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for each structure and a panel for each pair of runs.

    A dot is a subject, a diamond the Hodges-Lehmann estimate with its interval, the band the
    margin of non-inferiority. Subjects beyond the axis stand at its border; a subject in whom
    one run failed is a cross. Of all-against-all plans, only the pairs of one run are drawn.

    Parameters
    ----------
    inputs
        `compared` and `comparisons`.
    context
        With the option `metric`.

    Raises
    ------
    EmptyFigure
        If no two runs were compared on the same subjects.
    """
    metric = context.options["metric"]
    table = _tabulate(inputs, context, metric)
    limit = _limit(table, metric)
    pairs = list(dict.fromkeys(zip(table["run_a"], table["run_b"], strict=True)))
    structures = [name for name in context.structures if (table["structure"] == name).any()]
    return _draw(table, pairs, structures, limit, context), table


def _tabulate(inputs: Mapping[str, Any], context: Context, metric: str) -> pd.DataFrame:
    """Return a row for each subject, and one for each estimate; refused pairs have only that."""
    rows = result_rows(inputs, context)
    rows = rows[rows[metric].notna()].astype({"run": str, "structure": str})
    split = rows["split"].iloc[0] if len(rows) else context.split
    tests = comparisons_of_runs(inputs, context, metric=metric, split=split)
    tests = tests[tests["design"] != "unpaired"]
    if len(tests):
        tests = with_hub(tests, context)[1]
        pairs = list(dict.fromkeys(zip(tests["run_a"], tests["run_b"], strict=True)))
    else:
        pairs = [(context.run, run) for run in context.runs if run != context.run]
    parts = []
    for a, b in pairs:
        estimates = tests[(tests["run_a"] == a) & (tests["run_b"] == b)].assign(kind="estimate")
        refused = set(estimates.loc[estimates["verdict"] == "refused", "structure"])
        points = _differences(rows, a, b, metric)
        points = points[~points["structure"].isin(refused)]
        if len(points):
            parts.append(pd.concat([points, estimates]).assign(run_a=a, run_b=b))
    if not parts:
        raise EmptyFigure(_why_empty(context, tests))
    return pd.concat(parts, ignore_index=True).reindex(columns=_COLUMNS)


def _why_empty(context: Context, tests: pd.DataFrame) -> str:
    if len(context.runs) < 2:
        return f"{context.run} is compared with no other run: see statistics.compare."
    reasons = [reason for reason in dict.fromkeys(tests["reason"]) if reason]
    return f"No pair of runs has a subject in common. {' '.join(reasons)}".strip()


def _differences(rows: pd.DataFrame, a: str, b: str, metric: str) -> pd.DataFrame:
    """Return the differences of all subjects of both runs; two failures differ by nothing."""
    sides = [
        rows[rows["run"] == run]
        .groupby(["structure", "subject"], sort=False)
        .agg(value=(metric, "mean"), state=("state", "first"))
        for run in (a, b)
    ]
    both = (
        sides[0].merge(sides[1], on=["structure", "subject"], suffixes=("_a", "_b")).reset_index()
    )
    infinite = np.isinf(both["value_a"]) & np.isinf(both["value_b"])
    difference = both["value_a"].mask(infinite, 0) - both["value_b"].mask(infinite, 0)
    return both.assign(kind="point", difference=difference.round(9))


def _limit(table: pd.DataFrame, metric: str) -> float:
    """Return how far the axis reaches on either side of zero."""
    points = table[table["kind"] == "point"]
    ok = ~(points["state_a"].isin(FAILED) | points["state_b"].isin(FAILED))
    sizes = points.loc[ok, "difference"].abs()
    sizes = sizes[np.isfinite(sizes)]
    candidates = [float(sizes.quantile(_SHARE_IN_RANGE))] if len(sizes) else []
    ends = table[["diff_ci_low", "diff_ci_high", "diff_hl"]].to_numpy(dtype=float)
    candidates += np.abs(ends[np.isfinite(ends)]).tolist()
    margins = table["margin"].to_numpy(dtype=float)
    candidates += (1.3 * margins[np.isfinite(margins)]).tolist()
    largest = max(candidates, default=0.0)
    return 1.1 * largest if largest > 0 else (1.0 if is_distance(metric) else 0.01)


def _draw(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    structures: Sequence[str],
    limit: float,
    context: Context,
) -> Figure:
    config, metric = context.config, context.options["metric"]
    size = style.small(config)
    columns: Literal[1, 2] = 1 if len(pairs) == 1 else 2
    width = style.figure_width_mm(config, columns)
    label_mm = min(max(style.text_width_mm(name, size) for name in structures), 0.25 * width)
    panel_mm = (width - label_mm) / len(pairs) - 3
    headings = _headings(table, pairs, panel_mm, config)
    heading_mm = style.line_height_mm(size) * max(text.count("\n") + 1 for text in headings)
    handles = _handles(table, pairs, context)
    labels = [str(handle.get_label()) for handle in handles]
    title = _label(pairs, metric, width, config)
    fixed_mm = heading_mm + 6 + style.legend_height_mm(labels, width, config, title=title)
    room_mm = style.MAX_HEIGHT_MM - fixed_mm
    row_mm = min(_TALLEST_ROW_MM, room_mm / len(structures))
    figure = style.new_figure(
        config, columns=columns, height_mm=fixed_mm + row_mm * len(structures)
    )
    panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
    lines = max(1, int(row_mm / style.line_height_mm(size)))
    names = [style.wrap(name, label_mm, size, max_lines=lines) for name in structures]
    panels[0].set_yticks(range(len(structures)), [style.literal(name) for name in names])
    panels[0].set_ylim(len(structures) - 0.5, -0.5)
    for axes, pair, heading in zip(panels, pairs, headings, strict=True):
        mine = table[(table["run_a"] == pair[0]) & (table["run_b"] == pair[1])]
        _draw_pair(axes, mine, structures, limit, row_mm, style.colour_of(pair[1], context))
        axes.set_title(style.literal(heading), fontsize=size)
        count = 5 if panel_mm > 40 else 2
        axes.xaxis.set_major_locator(MaxNLocator(count, symmetric=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))
        axes.tick_params(axis="y", length=0)
        if len(pairs) <= _MOST_PANELS_WITH_NOTES:
            _write_notes(axes, mine, structures, config)
    style.legend(figure, handles, config, title=title)
    return figure


def _headings(
    table: pd.DataFrame,
    pairs: Sequence[tuple[str, str]],
    panel_mm: float,
    config: FiguresConfig,
) -> list[str]:
    """Return the other run of each panel, and on how many subjects it was compared."""
    size = style.small(config)
    if len(pairs) == 1:
        return [""]
    same_first = len({a for a, _ in pairs}) == 1
    headings = []
    for a, b in pairs:
        text = f"− {b}" if same_first else f"{a} − {b}"
        heading = style.wrap(text, panel_mm, size, max_lines=4)
        if len(pairs) > _MOST_PANELS_WITH_NOTES:
            mine = table[(table["run_a"] == a) & (table["run_b"] == b)]
            counts = mine[mine["kind"] == "point"].groupby("structure").size()
            few, many = counts.min(), counts.max()
            heading += f"\nn = {few}" + (f"–{many}" if many > few else "")
        headings.append(heading)
    return headings


def _label(
    pairs: Sequence[tuple[str, str]], metric: str, width: float, config: FiguresConfig
) -> str:
    """Return the label of the axis, which says on which side which run is better."""
    size = config.font_size_pt
    firsts = list(dict.fromkeys(a for a, _ in pairs))
    first = firsts[0] if len(firsts) == 1 else "first run"
    what = f"{first} − {pairs[0][1] if len(pairs) == 1 else 'other run'}"
    side = "left" if is_distance(metric) else "right"
    name, _, unit = style.axis_label(metric).partition(" ")
    verdict = f"({side} of 0: {first} is better)"
    if style.text_width_mm(verdict, size) > width - 6:
        verdict = f"({side} of 0: the first is better)"
    label = style.wrap(
        f"Difference in {name} {unit}".strip() + f": {what}", width - 6, size, max_lines=2
    )
    return f"{label}\n{verdict}"


def _draw_pair(
    axes: Axes,
    table: pd.DataFrame,
    structures: Sequence[str],
    limit: float,
    row_mm: float,
    colour: str,
) -> None:
    axes.set_xlim(-1.06 * limit, 1.06 * limit)
    axes.axvline(0, color="black", linewidth=0.6, zorder=1)
    for edge in np.arange(0.5, len(structures) - 1):
        axes.axhline(edge, color="#D9D9D9", linewidth=0.5, zorder=0)
    estimates = table[table["kind"] == "estimate"].set_index("structure").to_dict("index")
    for place, structure in enumerate(structures):
        points = table[(table["kind"] == "point") & (table["structure"] == structure)]
        _draw_points(axes, points, place, limit, row_mm, colour)
        if structure not in estimates:
            continue
        estimate = estimates[structure]
        if estimate["verdict"] == "refused":
            axes.text(0, place, "refused", ha="center", va="center", fontsize=5, color=style.GREY)
            continue
        margin = estimate["margin"]
        if np.isfinite(margin):
            band = [(-margin, 2 * margin)]
            axes.broken_barh(band, (place - 0.5, 1), color=style.BAND_GREY, zorder=0)
        y = place + 0.32
        low, high = np.clip([estimate["diff_ci_low"], estimate["diff_ci_high"]], -limit, limit)
        axes.hlines(y, low, high, color="black", linewidth=1.2, zorder=3)
        if np.isfinite(estimate["diff_hl"]):
            axes.plot(estimate["diff_hl"], y, "D", color="black", markersize=2.6, zorder=3)


def _draw_points(
    axes: Axes, points: pd.DataFrame, place: int, limit: float, row_mm: float, colour: str
) -> None:
    differences = points["difference"].to_numpy(dtype=float)
    failed = (points["state_a"].isin(FAILED) | points["state_b"].isin(FAILED)).to_numpy()
    y = place - 0.12 + style.jitter(len(points), 0.24)
    x = np.clip(differences, -limit, limit)
    size = float(np.clip(0.32 * row_mm, 1.0, 2.2))
    inside = ~failed & (np.abs(differences) <= limit)
    axes.plot(x[inside], y[inside], "o", color=colour, ms=size, mew=0, alpha=0.6)
    for beyond, marker in ((differences < -limit, "<"), (differences > limit, ">")):
        shown = beyond & ~failed
        axes.plot(x[shown], y[shown], marker, color=colour, ms=size + 0.8, mew=0)
    axes.plot(x[failed], y[failed], "x", color=colour, ms=size + 0.8, mew=0.7)


def _write_notes(
    axes: Axes, table: pd.DataFrame, structures: Sequence[str], config: FiguresConfig
) -> None:
    """Write the number of subjects and the adjusted p beside each row."""
    estimates = table[table["kind"] == "estimate"].set_index("structure")
    counts = table[table["kind"] == "point"].groupby("structure").size()
    places = [place for place, name in enumerate(structures) if name in counts.index]
    numbers = [str(counts[structures[place]]) for place in places]
    column = column_of("n", numbers, config)
    write_column(axes, places, numbers, column, 0, config)
    adjusted = estimates["p_adjusted"].reindex([structures[place] for place in places])
    if adjusted.notna().any():
        texts = [style.p_text(p).removeprefix("p ").removeprefix("= ") for p in adjusted]
        left = column.width_mm + column.offset_mm
        write_column(axes, places, texts, column_of("adjusted p", texts, config), left, config)


def _handles(
    table: pd.DataFrame, pairs: Sequence[tuple[str, str]], context: Context
) -> list[Line2D | Patch]:
    colour = style.colour_of(pairs[0][1], context) if len(pairs) == 1 else style.GREY
    points = table[table["kind"] == "point"]
    failed = points["state_a"].isin(FAILED) | points["state_b"].isin(FAILED)
    handles: list[Line2D | Patch] = [style.dot("subject", colour, "o")]
    if failed.any():
        handles.append(style.dot("a run failed", colour, "x"))
    limit = _limit(table, context.options["metric"])
    if (points["difference"].abs() > limit)[~failed].any():
        handles.append(style.dot("beyond the axis", colour, ">"))
    if table["diff_hl"].notna().any():
        name = "Hodges-Lehmann estimate, interval"
        handles.append(Line2D([], [], color="black", marker="D", markersize=2.6, label=name))
    if table["margin"].notna().any():
        handles.append(Patch(color=style.BAND_GREY, label="margin of non-inferiority"))
    return handles
