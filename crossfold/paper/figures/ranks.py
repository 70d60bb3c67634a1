"""How often each run takes each rank when the subjects are drawn again.

The idea is that of Wiesenfarth et al., Scientific Reports 2021, doi 10.1038/s41598-021-82017-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure

_SCHEMES = {
    "mean_then_rank": "mean over subjects",
    "rank_then_mean": "mean rank within subjects",
    "test_then_rank": "number of significant wins",
}
_COLUMNS = ["runs", "split", "scheme", "metric", "structure", "model", "n", "kendall_tau_mean"]
_TALLEST_ROW_MM, _LOWEST_ROW_MM = 5.0, 2.0


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for each structure: runs as rows, ranks as columns, areas as frequencies.

    A ring marks the rank on the subjects themselves. Of the metrics and schemes in ranks.csv, the
    options `metric` (Dice) and `scheme` (mean, then rank) choose one each.

    Parameters
    ----------
    inputs
        `ranks`.

    Raises
    ------
    EmptyFigure
        If fewer than three runs or members were ranked.
    """
    table = _tabulate(inputs, context)
    structures = [name for name in context.structures if (table["structure"] == name).any()]
    models = list(dict.fromkeys(table["model"]))
    config = context.config
    size = style.small(config)
    labels = _labels(models, context.run)
    wide, columns = _columns_of(len(structures), len(models))
    width = style.figure_width_mm(config, columns)
    high = -(-len(structures) // wide)
    label_mm = min(max(style.text_width_mm(text, size) for text in labels) + 2, 0.3 * width)
    panel_mm = (width - label_mm) / wide - 3
    around_mm = 4 * style.line_height_mm(size) + 3
    title = f"Rank by {style.axis_label(table['metric'].iloc[0]).partition(' ')[0]}"
    title += f" ({_SCHEMES[table['scheme'].iloc[0]]})"
    title = style.wrap(title, width - 4, config.font_size_pt, max_lines=2)
    handles = _handles()
    names = [str(handle.get_label()) for handle in handles]
    legend_mm = style.legend_height_mm(names, width, config, title=title)
    room = (style.MAX_HEIGHT_MM - legend_mm) / high - around_mm
    row_mm = max(min(_TALLEST_ROW_MM, room / len(models)), _LOWEST_ROW_MM)
    figure = style.new_figure(
        config,
        columns=columns,
        height_mm=legend_mm + high * (around_mm + row_mm * len(models)),
    )
    panels = figure.subplots(high, wide, squeeze=False, sharex=True, sharey=True).ravel()
    _label_axes(panels[0], [style.shorten(text, label_mm, size) for text in labels])
    cell_mm = min(row_mm, panel_mm / (len(models) + 0.2))
    for number, axes in enumerate(panels):
        if number >= len(structures):
            axes.set_visible(False)
            continue
        mine = table[table["structure"] == structures[number]]
        _draw_structure(axes, mine, models, cell_mm, context)
        axes.set_title(_heading(mine, panel_mm, size), fontsize=size)
        axes.tick_params(axis="y", length=0)
        below = number + wide >= len(structures)
        axes.tick_params(labelbottom=below)
    style.legend(figure, handles, config, title=title)
    return figure, table


def _label_axes(axes: Axes, labels: Sequence[str]) -> None:
    """Give the axes, and with them all that share theirs, a row for each run and a column each."""
    axes.set_yticks(range(len(labels)), [style.literal(text) for text in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0.4, len(labels) + 0.6)
    axes.set_xticks(range(1, len(labels) + 1))


def _tabulate(inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    """Return a row for each structure, run and rank: how often it is taken, and whether it is."""
    ranks = read_frame(inputs["ranks"])
    ranks = ranks[ranks["structure"].isin(context.structures)]
    for column, wanted in (
        ("metric", context.options.get("metric", "dice")),
        ("scheme", context.options.get("scheme", "mean_then_rank")),
    ):
        if len(ranks):
            known = (ranks[column] == wanted).any()
            ranks = ranks[ranks[column] == (wanted if known else ranks[column].iloc[0])]
    if ranks.empty:
        raise EmptyFigure("Fewer than three runs have results on the same subjects: no ranking.")
    shares = ranks["p_ranks"].astype(str).str.split().tolist()
    rows = [
        (*row[_COLUMNS], place + 1, float(share), place + 1 == row["rank"])
        for (_, row), parts in zip(ranks.iterrows(), shares, strict=True)
        for place, share in enumerate(parts)
    ]
    return pd.DataFrame(rows, columns=[*_COLUMNS, "rank", "frequency", "is_rank"])


def _columns_of(structures: int, models: int) -> tuple[int, Literal[1, 2]]:
    """Return how many panels stand side by side, and over how many columns of the page."""
    if structures == 1 or (structures == 2 and models <= 4):
        return structures, 1
    return next(
        wide for most, wide in ((4, structures), (9, 3), (16, 4), (10**6, 5)) if structures <= most
    ), 2


def _labels(models: Sequence[str], run: str) -> list[str]:
    """Return names of runs; of members without the name of their model."""
    members = all(name.startswith(f"{run} ") for name in models)
    return [name.removeprefix(f"{run} ") if members else name for name in models]


def _draw_structure(
    axes: Axes, table: pd.DataFrame, models: Sequence[str], cell_mm: float, context: Context
) -> None:
    largest = (0.92 * cell_mm / style.MM_PER_INCH * 72) ** 2
    for place, model in enumerate(models):
        mine = table[table["model"] == model]
        known = model in context.runs
        is_ensemble = model.endswith(" ensemble")
        colour = style.colour_of(context.run if is_ensemble else model, context)
        colour = colour if known or is_ensemble else style.GREY
        shown = mine[mine["frequency"] > 0]
        areas = largest * shown["frequency"].to_numpy()
        axes.scatter(shown["rank"], np.full(len(shown), place), areas, color=colour, linewidth=0)
        reached = mine.loc[mine["is_rank"], "rank"]
        axes.scatter(
            reached,
            np.full(len(reached), place),
            largest,
            facecolor="none",
            edgecolor="black",
            linewidth=0.7,
        )


def _heading(table: pd.DataFrame, panel_mm: float, size_pt: float) -> str:
    """Return the structure, on how many subjects, and how stable its ranking is."""
    name = style.wrap(str(table["structure"].iloc[0]), panel_mm, size_pt, max_lines=2)
    numbers = f"n = {int(table['n'].iloc[0])}"
    tau = table["kendall_tau_mean"].iloc[0]
    if np.isfinite(tau):
        numbers += f", τ = {tau:.2f}".replace("-", "−")
    return style.literal(f"{name}\n{numbers}")


def _handles() -> list[Line2D]:
    ring = style.dot("rank on all subjects", "black", "o")
    ring.set_markerfacecolor("none")
    return [style.dot("area: share of the resamples", style.GREY, "o"), ring]
