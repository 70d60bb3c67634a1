"""One small panel per structure, and the rows that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossfold.config.figures import FiguresConfig
from crossfold.config.statistics import StatisticsConfig
from crossfold.paper import style
from crossfold.paper.figures import Context
from crossfold.paper.figures.results import split_of

# Below this, a bootstrap covers too little: all subjects are drawn, and no interval.
FEWEST_FOR_INTERVAL = 10
MOST_COLUMNS, MOST_ROWS = 5, 6
TALLEST_ROW_MM = 52.0
_LABELS_MM = 6.0
# Of a panel and the strip below it.
_HEIGHTS = (4, 1)


@dataclass(frozen=True)
class Facets:
    """Panels of a figure, row by row, and the strip below each of them where there are strips."""

    figure: Figure
    panels: tuple[Axes, ...]
    strips: tuple[Axes, ...] = ()


def facets(
    names: Sequence[str],
    config: FiguresConfig,
    *,
    xlabel: str,
    ylabel: str,
    strip: str = "",
) -> Facets:
    """Return a figure with one panel per name, all with the same axes.

    Parameters
    ----------
    names
        What stands above the panels.
    config
        Widths and sizes.
    xlabel, ylabel
        Labels of the axes, once for all panels.
    strip
        Label of the vertical axis of a strip below each panel, a quarter as high; empty: none.
    """
    count = len(names)
    rows = -(-count // max(MOST_COLUMNS, -(-count // MOST_ROWS)))
    columns = -(-count // rows)
    wide = columns > 2
    height_mm = min(rows * TALLEST_ROW_MM * (1.2 if strip else 1) + _LABELS_MM, style.MAX_HEIGHT_MM)
    figure = style.new_figure(config, columns=2 if wide else 1, height_mm=height_mm)
    panel_mm = (style.figure_width_mm(config, 2 if wide else 1) - 10) / columns - 5
    heights = _HEIGHTS if strip else _HEIGHTS[:1]
    cells = figure.add_gridspec(len(heights) * rows, columns, height_ratios=[*heights] * rows)
    panels: list[Axes] = []
    strips: list[Axes] = []
    for place, name in enumerate(names):
        row, column = divmod(place, columns)
        for number, found in enumerate([panels, strips][: len(heights)]):
            axes = figure.add_subplot(
                cells[row * len(heights) + number, column],
                sharex=panels[0] if panels else None,
                sharey=found[0] if found else None,
            )
            lowest = place + columns >= count and number == len(heights) - 1
            axes.tick_params(labelbottom=lowest, labelleft=column == 0)
            found.append(axes)
        text = style.literal(style.shorten(name, panel_mm, style.small(config)))
        panels[-1].set_title(text, loc="left", fontsize=style.small(config))
        if strip and column == 0:
            strips[-1].set_ylabel(strip, fontsize=style.tiny(config))
    figure.supxlabel(xlabel, fontsize=config.font_size_pt)
    figure.supylabel(ylabel, fontsize=config.font_size_pt)
    return Facets(figure, tuple(panels), tuple(strips))


def rows_of_split(frame: pd.DataFrame, context: Context) -> tuple[pd.DataFrame, str]:
    """Return the rows that figures are about, and their split.

    All subjects out of fold (val), or the test set as the ensemble predicts it, where
    `context.split` asks for it and there is one.
    """
    split = split_of(frame.assign(run=context.run), context)
    rows = frame[frame["split"] == split]
    return (rows[rows["fold"] == "ensemble"] if split == "test" else rows), split


def structures_of(frame: pd.DataFrame, context: Context) -> list[str]:
    """Return the structures that a table holds, in the order of the configuration."""
    found = set(frame["structure"])
    return [name for name in context.structures if name in found]


def statistics_of(context: Context) -> StatisticsConfig:
    """Return confidence, resamples and seed of intervals."""
    return StatisticsConfig.model_validate(context.options.get("statistics", {}))


def by_subject(rows: pd.DataFrame, column: str, value: str) -> pd.DataFrame:
    """Return one row per subject and one column per value of `column`.

    A subject that was measured twice counts once, with its mean.
    """
    return rows.pivot_table(
        index="subject", columns=column, values=value, aggfunc="mean", dropna=False, observed=True
    ).replace([np.inf, -np.inf], np.nan)
