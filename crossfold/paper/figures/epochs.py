"""Dice over the epochs that are tested, out of fold and on the test set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.facets import facets, structures_of

NAMES = {"val": "out of fold", "test": "test set, ensemble"}
LOOKS: dict[str, dict[str, Any]] = {
    "val": {"color": "#0072B2", "linestyle": "solid", "marker": "o"},
    "test": {"color": "#D55E00", "linestyle": (0, (4, 1.5)), "marker": "s"},
}
BEST: dict[str, Any] = {"color": LOOKS["val"]["color"], "mec": "black", "ms": 5}


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw the mean Dice at each epoch with its interval, one panel per structure.

    The epoch with the highest Dice out of fold is marked there, and only there.

    Parameters
    ----------
    inputs
        `epochs`.
    context
        Structures and sizes.

    Raises
    ------
    EmptyFigure
        If no structure has a Dice.
    """
    table = read_frame(inputs["epochs"])
    table = table[table["metric"] == "dice"].dropna(subset=["mean"])
    structures = structures_of(table, context)
    if not structures:
        raise EmptyFigure("No structure has a Dice.")
    table = table[table["structure"].isin(structures)]
    grid = facets(structures, context.config, xlabel="", ylabel=style.axis_label("dice"))
    first, last = table["epoch"].min(), table["epoch"].max()
    margin = max(1, 0.06 * (last - first))
    for axes, structure in zip(grid.panels, structures, strict=True):
        _panel(axes, table[table["structure"] == structure], apart=margin / 5)
    lowest = np.floor(10 * np.nanmin(table[["mean", "ci_low"]].to_numpy(dtype=float))) / 10
    grid.panels[0].set(ylim=(lowest - 0.02, 1.02), xlim=(first - margin, last + margin))
    grid.panels[0].xaxis.set_major_locator(MaxNLocator(4, integer=True))
    style.legend(grid.figure, _handles({*table["split"]}), context.config, title="Epoch")
    return grid.figure, table


def _panel(axes: Axes, rows: pd.DataFrame, apart: float) -> None:
    """Draw both splits, `apart` epochs to the left and to the right, so that neither hides."""
    for shift, (split, look) in zip((-apart, apart), LOOKS.items(), strict=True):
        of_split = rows[rows["split"] == split].sort_values("epoch")
        epochs, mean = of_split["epoch"] + shift, of_split["mean"]
        axes.vlines(epochs, of_split["ci_low"], of_split["ci_high"], color=look["color"], lw=0.7)
        axes.plot(epochs, mean, lw=1.1, ms=3, **look)
    best = rows[rows["best_on_val"] & (rows["split"] == "val")]
    axes.plot(best["epoch"] - apart, best["mean"], "D", **BEST)


def _handles(splits: set[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], lw=1.1, ms=3, label=NAMES[split], **look)
        for split, look in LOOKS.items()
        if split in splits
    ]
    return [*handles, Line2D([], [], marker="D", ls="", label="highest out of fold", **BEST)]
