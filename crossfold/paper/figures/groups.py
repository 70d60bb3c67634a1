"""Boxes with all points, side by side in groups: runs or institutions, one block per structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKRIGHT
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from scipy import stats

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style
from crossfold.paper.figures.results import quantiles
from crossfold.paper.figures.rows import (
    Column,
    Rows,
    arrange,
    column_of,
    draw_rows,
    write_column,
)
from crossfold.paper.figures.scales import Scale, scale_of

# A density from fewer points says more than they do, and one in a lower row shows nothing.
FEWEST_FOR_CLOUD = 30
_LOWEST_ROW_FOR_CLOUD_MM = 4.2
_SHORTEST_AXIS_WITH_EFFECT_MM = 24.0
_WHISKER = 1.5  # interquartile ranges, after Tukey
FAILURE_MARKERS = {"missed": "x", "hallucinated": "+"}

POINT_COLUMNS = ["kind", "structure", "group", "subject", "state", "value"]
BOX_COLUMNS = ["n", "n_failed", "q1", "median", "q3", "whisker_low", "whisker_high"]
BRACKET_COLUMNS = ["other_group", "p_adjusted", "effect"]


@dataclass(frozen=True)
class Group:
    """A run or an institution: its colour, and a marker that says the same."""

    name: str
    colour: str
    marker: str


def tabulate(rows: pd.DataFrame, by: str, metric: str) -> pd.DataFrame:
    """Return what is drawn: a row for each point, and one for each box.

    Quartiles are over all subjects: a failure counts as the worst value.
    """
    measured = rows[rows[metric].notna()]
    points = measured.assign(kind="point", group=measured[by], value=measured[metric])
    boxes = [
        {"kind": "box", "structure": structure, "group": group, **_box(block)}
        for (structure, group), block in points.groupby(["structure", "group"], observed=True)
    ]
    columns = [*POINT_COLUMNS, *BOX_COLUMNS, *BRACKET_COLUMNS]
    table = pd.concat([points, pd.DataFrame(boxes)]).reindex(columns=columns)
    return table.astype({"structure": str, "group": str})


def draw_groups(
    table: pd.DataFrame,
    groups: Sequence[Group],
    structures: Sequence[str],
    *,
    metric: str,
    correction: str,
    config: FiguresConfig,
) -> Figure:
    """Draw the table that `tabulate` made, with brackets where it has rows of kind `bracket`."""
    boxes = table[table["kind"] == "box"]
    brackets = table[table["kind"] == "bracket"]
    points = table[table["kind"] == "point"]
    numbers = column_of("n (failed)", _counts(boxes), config)
    states = [state for state in FAILURE_MARKERS if (points["state"] == state).any()]
    names = [group.name for group in groups] if len(groups) > 1 else []
    legend_mm = style.legend_height_mm([*names, *states], config.width_mm, config)
    for with_effect in (True, False):
        heading = f"{correction} p (effect)" if with_effect else f"{correction} p"
        tests = column_of(heading, _tests(brackets, with_effect), config, offset_mm=3.6)
        columns = [numbers] if brackets.empty else [numbers, tests]
        notes_mm = sum(column.width_mm + column.offset_mm for column in columns)
        rows = arrange(
            structures, len(groups), notes_mm=notes_mm, legend_mm=legend_mm, config=config
        )
        if rows.plot_mm >= _SHORTEST_AXIS_WITH_EFFECT_MM:
            break
    scale = scale_of(
        metric,
        points["value"],
        points["state"].isin(FAILURE_MARKERS),
        length_mm=rows.plot_mm,
        config=config,
    )
    figure, panels = draw_rows(rows, config)
    for axes, shown in zip(panels, rows.panels, strict=True):
        scale.apply(axes, "x", length_mm=rows.plot_mm, config=config)
        axes.set_xlabel(
            scale.label.replace(" (axis", "\n(axis") if rows.plot_mm < 30 else scale.label
        )
        for number, group in enumerate(groups):
            _draw_group(axes, table, group, number, shown, rows, scale)
        _write_notes(axes, boxes, brackets, groups, shown, rows, columns, config)
    style.legend(figure, _handles(groups, states), config)
    return figure


def _draw_group(
    axes: Axes,
    table: pd.DataFrame,
    group: Group,
    number: int,
    shown: Sequence[str],
    rows: Rows,
    scale: Scale,
) -> None:
    for place, structure in enumerate(shown):
        mine = table[(table["group"] == group.name) & (table["structure"] == structure)]
        points = mine[mine["kind"] == "point"]
        if points.empty:
            continue
        box = mine[mine["kind"] == "box"].iloc[0]
        y = rows.y(place, number)
        failed = points["state"].isin(FAILURE_MARKERS).to_numpy()
        values = points["value"].to_numpy(dtype=float)
        cloud = len(values) >= FEWEST_FOR_CLOUD and rows.pitch_mm >= _LOWEST_ROW_FOR_CLOUD_MM
        if cloud:
            _draw_cloud(axes, values[~failed], y - 0.14, group.colour, scale)
        _draw_box(axes, box, y, 0.2 if cloud else 0.64, group.colour, scale)
        centre, spread = (y + 0.3, 0.11) if cloud else (y, 0.22)
        size = float(np.clip(rows.pitch_mm * (0.35 if cloud else 0.45), 1.0, 2.6))
        heights = centre + style.jitter(len(values), spread)
        axes.plot(
            scale.place(values[~failed]),
            heights[~failed],
            group.marker,
            color=group.colour,
            markersize=size,
            markeredgewidth=0,
            alpha=0.6,
        )
        for state, marker in FAILURE_MARKERS.items():
            of_state = (points["state"] == state).to_numpy()
            axes.plot(
                _spread_in_band(scale, int(of_state.sum())),
                heights[of_state],
                marker,
                color=group.colour,
                markersize=max(2.2, size),
                markeredgewidth=0.7,
            )


def _spread_in_band(scale: Scale, count: int) -> NDArray:
    """Return places in the band of failures, spread so that crosses do not hide each other."""
    return scale.at(0.5 + style.jitter(count, 0.3, seed=1), scale.band)


def _draw_cloud(
    axes: Axes, values: NDArray[np.float64], base: float, colour: str, scale: Scale
) -> None:
    """Draw the density of the values, as seen on the axis, above a row."""
    seen = scale.fraction(scale.place(values))
    if len(values) < FEWEST_FOR_CLOUD or np.ptp(seen) < 1e-6:
        return
    fractions = np.linspace(seen.min(), seen.max(), 100)
    density = stats.gaussian_kde(seen)(fractions)
    axes.fill_between(
        scale.at(fractions),
        base,
        base - 0.32 * density / density.max(),
        color=_pale(colour, 0.55),
        linewidth=0,
    )


def _draw_box(
    axes: Axes, box: pd.Series, y: float, height: float, colour: str, scale: Scale
) -> None:
    edges = box[["whisker_low", "q1", "median", "q3", "whisker_high"]].to_numpy(dtype=float)
    at_worst = np.isinf(edges) | (edges == 0) if scale.kind == "linear" else np.isinf(edges)
    low, first, middle, third, high = scale.place(edges, at_worst & (scale.band is not None))
    if np.isfinite(edges[[0, 4]]).all():
        axes.hlines(y, low, high, color=colour, linewidth=0.7)
    axes.barh(
        y,
        third - first,
        left=first,
        height=height,
        facecolor=_pale(colour, 0.72),
        edgecolor=colour,
        linewidth=0.6,
    )
    axes.vlines(middle, y - height / 2, y + height / 2, color="black", linewidth=1.1, zorder=3)


def _pale(colour: str, share: float) -> tuple[float, float, float]:
    """Mix a colour with white."""
    red, green, blue = (part + (1 - part) * share for part in to_rgb(colour))
    return red, green, blue


def _write_notes(
    axes: Axes,
    boxes: pd.DataFrame,
    brackets: pd.DataFrame,
    groups: Sequence[Group],
    shown: Sequence[str],
    rows: Rows,
    columns: Sequence[Column],
    config: FiguresConfig,
) -> None:
    """Write n and failures beside each row, and the comparisons with their brackets."""
    numbers = {group.name: number for number, group in enumerate(groups)}
    places = {structure: place for place, structure in enumerate(shown)}
    mine = boxes[boxes["structure"].isin(places)]
    heights = _heights(mine, "group", places, numbers, rows)
    write_column(axes, heights, _counts(mine), columns[0], 0, config)
    tested = brackets[brackets["structure"].isin(places)]
    if tested.empty:
        return
    left = columns[0].offset_mm + columns[0].width_mm
    ends = _heights(tested, "other_group", places, numbers, rows)
    texts = _tests(tested, columns[1].heading.endswith("(effect)"))
    write_column(axes, ends, texts, columns[1], left, config)
    hubs = _heights(tested, "group", places, numbers, rows)
    shift_inch = (left + 1.5) / style.MM_PER_INCH
    shift = ScaledTranslation(shift_inch, 0, axes.figure.dpi_scale_trans)
    for structure in dict.fromkeys(tested["structure"]):
        mine = (tested["structure"] == structure).to_numpy()
        teeth = sorted({*np.array(ends)[mine], *np.array(hubs)[mine]})
        axes.plot(
            [1.0] * len(teeth),
            teeth,
            color="black",
            linewidth=0.6,
            marker=TICKRIGHT,
            markersize=3,
            clip_on=False,
            transform=axes.get_yaxis_transform() + shift,
        )


def _heights(
    table: pd.DataFrame, group: str, places: dict[str, int], numbers: dict[str, int], rows: Rows
) -> list[float]:
    return [
        rows.y(places[structure], numbers[name])
        for structure, name in zip(table["structure"], table[group], strict=True)
    ]


def _box(block: pd.DataFrame) -> dict[str, float]:
    values = block["value"].to_numpy(dtype=float)
    q1, median, q3 = quantiles(values, [0.25, 0.5, 0.75])
    finite = values[np.isfinite(values)]
    spread = _WHISKER * (q3 - q1) if np.isfinite(q3) else np.inf
    inside = finite[(finite >= q1 - spread) & (finite <= q3 + spread)] if np.isfinite(q1) else []
    low, high = (min(q1, *inside), max(q3, *inside)) if len(inside) else (q1, q3)
    numbers = (len(values), int(block["failed"].sum()), q1, median, q3, low, high)
    return dict(zip(BOX_COLUMNS, numbers, strict=True))


def _counts(boxes: pd.DataFrame) -> list[str]:
    return [
        f"{int(n)} ({int(failed)})"
        for n, failed in zip(boxes.get("n", []), boxes.get("n_failed", []), strict=True)
    ]


def _tests(brackets: pd.DataFrame, with_effect: bool) -> list[str]:
    """Return "0.012 (+0.45)", or the p alone."""
    texts = []
    for p, effect in brackets[["p_adjusted", "effect"]].to_numpy(dtype=float):
        known = with_effect and np.isfinite(effect)
        size = f" ({effect:+.2f})".replace("-", "−") if known else ""
        texts.append((style.p_text(p).removeprefix("p ").removeprefix("= ") or "–") + size)
    return texts


def _handles(groups: Sequence[Group], states: Sequence[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=group.colour, marker=group.marker, label=group.name)
        for group in (groups if len(groups) > 1 else ())
    ]
    return handles + [style.dot(state, style.GREY, FAILURE_MARKERS[state]) for state in states]
