"""Learning curves of all folds: loss, Dice, learning rate and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure

PHASES: dict[str, tuple[str, tuple[float, tuple[float, ...]]]] = {
    "train": ("#0072B2", (0, ())),
    "val": ("#D55E00", (0, (4, 1.5))),
}
PANELS = {"loss": "Loss", "dice": "Dice", "lr": "Learning rate", "minutes": "Wall-clock time (min)"}
HEIGHT_MM = 100.0
COLUMNS = ["panel", "phase", "fold", "epoch", "value", "saved"]


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw folds as thin lines and their mean as a bold one.

    The Dice is the mean over structures. The epoch of the checkpoints that predict is marked: the
    one after `@` in the name of the run, or the last.

    Parameters
    ----------
    inputs
        `training`: training.csv of each fold.
    context
        Name of the run.

    Raises
    ------
    EmptyFigure
        If no fold was trained for an epoch.
    """
    folds = [curves_of_fold(Path(path), place) for place, path in enumerate(inputs["training"])]
    table = pd.concat(folds, ignore_index=True) if folds else pd.DataFrame(columns=COLUMNS)
    if table.empty:
        raise EmptyFigure("No fold was trained for an epoch.")
    mean = table.groupby(["panel", "phase", "epoch"], sort=False)["value"].mean().reset_index()
    table = pd.concat([table, mean.assign(fold="mean")], ignore_index=True)
    _, _, epoch = context.run.rpartition("@")
    saved = int(epoch) if "@" in context.run and epoch.isdigit() else table["epoch"].max()
    table = table.assign(saved=table["epoch"] == saved)
    return _draw(table[COLUMNS], len(folds), context), table[COLUMNS]


def curves_of_fold(path: Path, place: int) -> pd.DataFrame:
    """Return the curves of one fold: columns panel, phase, fold, epoch, value.

    Parameters
    ----------
    path
        training.csv, in the folder of its fold.
    place
        Number of the fold where the folder does not say it.
    """
    history = read_frame(path)
    if history.empty:
        return pd.DataFrame(columns=COLUMNS)
    metric = history["metric"].astype(str)
    dice = history[metric.str.startswith("dice_")].assign(panel="dice")
    loss = history[metric == "loss"].assign(panel="loss")
    values = pd.concat([loss, dice]).replace([np.inf, -np.inf], np.nan)
    curves = values.groupby(["panel", "phase", "epoch"], sort=False)["value"].mean().reset_index()
    rate = history.groupby("epoch")["lr"].first().rename("value").reset_index()
    # Rows of a phase say how long it had taken when they were written.
    seconds = history.groupby(["epoch", "phase"])["seconds"].max().groupby("epoch").sum()
    minutes = (seconds.sort_index().cumsum() / 60).rename("value").reset_index()
    parts = [
        curves,
        rate.assign(panel="lr", phase="train"),
        minutes.assign(panel="minutes", phase="train"),
    ]
    fold = path.parent.name if path.parent.name.isdigit() else str(place)
    return pd.concat(parts, ignore_index=True).dropna(subset=["value"]).assign(fold=fold)


def _draw(table: pd.DataFrame, folds: int, context: Context) -> Figure:
    figure = style.new_figure(context.config, columns=2, height_mm=HEIGHT_MM)
    panels = figure.subplots(2, 2, sharex=True).ravel()
    for axes, (panel, label), letter in zip(panels, PANELS.items(), "abcd", strict=True):
        rows = table[table["panel"] == panel]
        _curves(axes, rows, folds)
        axes.set_ylabel(label)
        style.letter(axes, letter)
    panels[1].set_ylim(0, 1)
    for axes in panels[2:]:
        axes.set_xlabel("Epoch")
        axes.set_ylim(bottom=0)
    panels[2].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    panels[0].set_xlim(0, max(2, table["epoch"].max()) * 1.02)
    style.legend(figure, _handles(folds, set(table["phase"])), context.config)
    return figure


def _curves(axes: Axes, rows: pd.DataFrame, folds: int) -> None:
    """Draw one panel; what is the same for both phases is drawn in black."""
    neutral = rows["panel"].isin(["lr", "minutes"]).all()
    for (phase, fold), curve in rows.groupby(["phase", "fold"], sort=False):
        colour, line = ("black", (0, ())) if neutral else PHASES[str(phase)]
        curve = curve.sort_values("epoch")
        is_mean = fold == "mean"
        if is_mean or folds > 1:
            axes.plot(
                curve["epoch"],
                curve["value"],
                color=colour,
                linestyle=line if is_mean else "solid",
                linewidth=1.4 if is_mean else 0.5,
                alpha=1.0 if is_mean else 0.45,
                marker="o" if len(curve) == 1 else None,
                zorder=3 if is_mean else 2,
            )
        saved = curve[curve["saved"]]
        if is_mean and len(saved):
            axes.plot(
                *(saved["epoch"], saved["value"], "D"),
                color=colour,
                markeredgecolor="white",
                markersize=5,
                clip_on=False,
                zorder=4,
            )


def _handles(folds: int, phases: Sequence[str] | set[str]) -> list[Line2D]:
    names = {"train": "training", "val": "validation"}
    handles = [
        Line2D([], [], color=colour, linestyle=line, linewidth=1.4, label=names[phase])
        for phase, (colour, line) in PHASES.items()
        if phase in phases
    ]
    if folds > 1:
        label = f"thin: {folds} folds, bold: their mean"
        handles.append(Line2D([], [], color="black", linewidth=0.5, alpha=0.6, label=label))
    diamond = Line2D([], [], color="black", marker="D", markersize=4, linestyle="none")
    diamond.set_label("checkpoint that predicts")
    return [*handles, diamond]
