"""Figures with one row per structure, or one per structure and run: where the rows are.

Names of structures stand on the left, numbers that belong to a row on the right. More rows than
fit below each other become two or three panels side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style

MOST_PANELS = 3
WIDEST_ROW_MM = 7.0
_NARROWEST_PLOT_MM = 34.0
_PADDING_MM = 4.0


@dataclass(frozen=True)
class Column:
    """Text on the right of the axes, one for each row: its heading and how wide it is."""

    heading: str
    width_mm: float
    offset_mm: float = 1.5


@dataclass(frozen=True)
class Rows:
    """Where rows are drawn.

    Parameters
    ----------
    panels
        Structures of each panel, from top to bottom.
    groups
        Number of rows of each structure.
    slot
        Height of a structure, in rows: with the gap to the next one.
    pitch_mm
        About how high a row is.
    plot_mm, label_mm
        How long the axis of the metric and the labels of structures are.
    columns, height_mm
        Size of the figure.
    """

    panels: tuple[tuple[str, ...], ...]
    groups: int
    slot: float
    pitch_mm: float
    plot_mm: float
    label_mm: float
    columns: Literal[1, 2]
    height_mm: float

    def y(self, place: int, group: int = 0) -> float:
        """Return the middle of a row: of a structure by its place in the panel, and of a group."""
        return place * self.slot + group


def arrange(
    structures: Sequence[str],
    groups: int,
    *,
    notes_mm: float,
    legend_mm: float,
    config: FiguresConfig,
    widest_row_mm: float = WIDEST_ROW_MM,
) -> Rows:
    """Choose the size of a figure and the number of its panels.

    Parameters
    ----------
    structures
        Names of the structures, in order.
    groups
        Number of rows of each structure.
    notes_mm
        Width of the texts on the right of a panel.
    legend_mm
        Height of the legend below all panels.
    """
    size = style.small(config)
    slot = groups + (0.35 if groups == 1 else 0.6)
    axis_mm = 2.5 * style.line_height_mm(config.font_size_pt) + 2 * style.line_height_mm(size)
    available = style.MAX_HEIGHT_MM - legend_mm - axis_mm
    text_mm = style.line_height_mm(style.tiny(config)) * 0.93
    longest = max(style.text_width_mm(name, size) for name in structures) + 1.5
    for panels in range(1, MOST_PANELS + 1):
        per_panel = -(-len(structures) // panels)
        pitch = min(widest_row_mm, available / (per_panel * slot))
        if max(pitch, pitch * slot / 2 if groups == 1 else 0) >= text_mm:
            break
    columns: Literal[1, 2] = 2
    if panels == 1 and per_panel * groups <= 12:
        room = config.column_mm - notes_mm - _PADDING_MM - min(longest, 0.28 * config.column_mm)
        columns = 1 if room >= _NARROWEST_PLOT_MM else 2
    width = style.figure_width_mm(config, columns) / panels
    label_mm = min(longest, 0.28 * width)
    chunks = [tuple(structures[i : i + per_panel]) for i in range(0, len(structures), per_panel)]
    return Rows(
        panels=tuple(chunks),
        groups=groups,
        slot=slot,
        pitch_mm=pitch,
        plot_mm=max(5.0, width - label_mm - notes_mm - _PADDING_MM),
        label_mm=label_mm,
        columns=columns,
        height_mm=pitch * slot * per_panel + legend_mm + axis_mm,
    )


def draw_rows(rows: Rows, config: FiguresConfig) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each chunk of structures, their names on the left."""
    figure = style.new_figure(config, columns=rows.columns, height_mm=rows.height_mm)
    panels = figure.subplots(1, len(rows.panels), squeeze=False)[0].tolist()
    most = max(len(structures) for structures in rows.panels)
    size = style.small(config)
    lines = max(1, int(rows.slot * rows.pitch_mm / style.line_height_mm(size)))
    for axes, structures in zip(panels, rows.panels, strict=True):
        first = -0.5 - (rows.slot - rows.groups) / 2
        axes.set_ylim(first + most * rows.slot, first)
        middle = [rows.y(place) + (rows.groups - 1) / 2 for place in range(len(structures))]
        names = [style.wrap(name, rows.label_mm, size, max_lines=lines) for name in structures]
        axes.set_yticks(middle, [style.literal(name) for name in names], fontsize=size)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        for place in range(1, len(structures)):
            axes.axhline(first + place * rows.slot, color="#BFBFBF", linewidth=0.5)
    return figure, panels


def write_column(
    axes: Axes,
    places: Sequence[float],
    texts: Sequence[str],
    column: Column,
    left_mm: float,
    config: FiguresConfig,
) -> None:
    """Write a column of texts on the right of the axes, with its heading above."""
    size = style.tiny(config)
    left_pt = (left_mm + column.offset_mm) / style.MM_PER_INCH * 72
    widest = max(texts, key=lambda text: style.text_width_mm(text, size), default="")
    for y, text in zip(places, texts, strict=True):
        note = axes.annotate(
            style.literal(text),
            (1.0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(left_pt, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=size,
            annotation_clip=False,
        )
        # The layout has to make room for one of them only, and is fast that way.
        note.set_in_layout(text == widest)
    if len(places):
        axes.annotate(
            column.heading,
            (1.0, 1.0),
            xycoords="axes fraction",
            xytext=(left_pt, 1.5),
            textcoords="offset points",
            va="bottom",
            fontsize=size,
            color=style.GREY,
            annotation_clip=False,
        )


def column_of(
    heading: str, texts: Sequence[str], config: FiguresConfig, *, offset_mm: float = 1.5
) -> Column:
    """Return a column that is as wide as its heading and the widest of its texts."""
    size = style.tiny(config)
    widths = [style.text_width_mm(text, size) for text in {heading, *texts}]
    return Column(heading, float(np.max(widths)), offset_mm)
