"""Run against run: one point for each subject and structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.results import is_distance, result_rows
from crossfold.paper.figures.scales import Scale, scale_of

_MOST_PANELS_IN_A_ROW = 4
_TIE = 1e-9


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw this run (upwards) against each other one, with the number for which either is better.

    Failures stand in bands at the border, with markers of their structure like all others.

    Parameters
    ----------
    inputs
        `compared`.
    context
        With the option `metric`.

    Raises
    ------
    EmptyFigure
        If no other run has a subject in common with this one.
    """
    metric = context.options["metric"]
    rows = result_rows(inputs, context)
    rows = rows[rows[metric].notna()].astype({"run": str, "structure": str})
    pairs = [_pairs(rows, context.run, other, metric) for other in context.runs[1:]]
    pairs = [pair for pair in pairs if len(pair)]
    if not pairs:
        raise EmptyFigure(f"No other run has a subject in common with {context.run}.")
    table = pd.concat(pairs, ignore_index=True)
    return _draw(table, context), table


def _pairs(rows: pd.DataFrame, run: str, other: str, metric: str) -> pd.DataFrame:
    """Return the subjects and structures that two runs have in common."""
    sides = [
        rows[rows["run"] == name]
        .groupby(["structure", "subject"], sort=False)
        .agg(value=(metric, "mean"), failed=("failed", "any"))
        for name in (other, run)
    ]
    both = (
        sides[0].merge(sides[1], on=["structure", "subject"], suffixes=("_x", "_y")).reset_index()
    )
    equal = both["value_x"] == both["value_y"]
    advantage = (both["value_y"] - both["value_x"]).mask(equal, 0)
    advantage = -advantage if is_distance(metric) else advantage
    better = np.select([advantage > _TIE, advantage < -_TIE], ["y", "x"], "equal")
    return both.assign(run_x=other, run_y=run, better=better)


def _draw(table: pd.DataFrame, context: Context) -> Figure:
    config, metric = context.config, context.options["metric"]
    others = list(dict.fromkeys(table["run_x"]))
    shown = set(table["structure"])
    structures = [name for name in context.structures if name in shown]
    wide = min(len(others), _MOST_PANELS_IN_A_ROW)
    high = -(-len(others) // wide)
    columns: Literal[1, 2] = 1 if len(others) == 1 else 2
    width = style.figure_width_mm(config, columns)
    legend_mm = style.legend_height_mm(structures, width, config)
    line_mm = style.line_height_mm(config.font_size_pt)
    around_mm = 8 * line_mm  # ticks and two lines of label below, failed and two counts above
    room = (style.MAX_HEIGHT_MM - legend_mm) / high - around_mm
    side = min((width - 6 * line_mm) / wide - 3, room, 75.0)
    figure = style.new_figure(
        config, columns=columns, height_mm=legend_mm + high * (side + around_mm)
    )
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    values = table[["value_x", "value_y"]].to_numpy(dtype=float).ravel()
    failed = table[["failed_x", "failed_y"]].to_numpy(dtype=bool).ravel()
    scale = scale_of(metric, values, failed, length_mm=side, config=config)
    for number, (axes, other) in enumerate(zip(panels, others, strict=False)):
        mine = table[table["run_x"] == other]
        _draw_pair(axes, mine, structures, scale, side, context, is_first=number % wide == 0)
    for axes in panels[len(others) :]:
        axes.set_visible(False)
    handles = [
        style.dot(name, *style.structure_style(name, context.structures)) for name in structures
    ]
    style.legend(figure, handles, config)
    return figure


def _draw_pair(
    axes: Axes,
    table: pd.DataFrame,
    structures: Sequence[str],
    scale: Scale,
    side_mm: float,
    context: Context,
    *,
    is_first: bool,
) -> None:
    config = context.config
    run, other = table["run_y"].iloc[0], table["run_x"].iloc[0]
    scale.apply(axes, "x", length_mm=side_mm, config=config)
    scale.apply(axes, "y", length_mm=side_mm, config=config)
    axes.plot([scale.low, scale.high], [scale.low, scale.high], color="black", linewidth=0.6)
    size = 2.6 if side_mm > 50 else 2.0
    for structure in structures:
        mine = table[table["structure"] == structure]
        colour, marker = style.structure_style(structure, context.structures)
        axes.plot(
            scale.place(mine["value_x"], mine["failed_x"]),
            scale.place(mine["value_y"], mine["failed_y"]),
            marker,
            color=colour,
            markersize=size,
            markeredgewidth=0,
            alpha=0.65,
            clip_on=False,
        )
    names = [_axis_label(scale, name, side_mm, config.font_size_pt) for name in (other, run)]
    axes.set_xlabel(names[0])
    if is_first:
        axes.set_ylabel(names[1])
    else:
        axes.tick_params(labelleft=False)
    counts = table["better"].value_counts()
    size_pt = style.tiny(config)
    equal = f", equal: {counts['equal']}" if "equal" in counts else ""
    lines = []
    for name, winner, end in ((run, "y", ""), (other, "x", equal)):
        result = f" better: {counts.get(winner, 0)}{end}"
        room = side_mm - style.text_width_mm(result, size_pt)
        lines.append(style.shorten(name, room, size_pt) + result)
    # Above the name of the band of failures.
    above_pt = 3 + (1.2 * size_pt if scale.band else 0)
    axes.annotate(
        style.literal("\n".join(lines)),
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, above_pt),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=size_pt,
        annotation_clip=False,
    )


def _axis_label(scale: Scale, run: str, side_mm: float, size_pt: float) -> str:
    name = style.axis_label(scale.metric)
    start = "" if name == scale.label else f", from {scale.low:g}"
    one_line = f"{name}{start}: {run}"
    if style.text_width_mm(one_line, size_pt) <= side_mm:
        return style.literal(one_line)
    return style.literal(f"{name}{start}:\n{style.shorten(run, side_mm, size_pt)}")
