"""Histograms of all images before and after normalisation, one row of panels per channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure

STAGES = {"before": "Intensity as acquired", "after": "Intensity after normalisation"}
COLUMNS = ["channel", "stage", "subject", "intensity", "density"]
MEAN = "mean"
ROW_MM = 45.0
# Lines are compared at as many places as a histogram has bins.
PLACES = 64
# What is rarer than this share of the largest density is noise in a tail.
RAREST = 1e-4


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw one thin line per subject and their mean as a bold one.

    Densities are on a logarithmic axis, because there is more air than anything else.

    Parameters
    ----------
    inputs
        `intensities`: intensities.csv of the model.
    context
        Name and colour of the run.

    Raises
    ------
    EmptyFigure
        If there is no subject.
    """
    bins = read_frame(Path(inputs["intensities"]))
    if bins.empty:
        raise EmptyFigure("There is no image.")
    bins["intensity"] = (bins["low"] + bins["high"]) / 2
    means = [
        _mean(rows).assign(channel=str(channel), stage=str(stage), subject=MEAN)
        for (channel, stage), rows in bins.groupby(["channel", "stage"], sort=False)
    ]
    table = pd.concat([bins, *means], ignore_index=True)[COLUMNS]
    return _draw(table, context), table


def _mean(bins: pd.DataFrame) -> pd.DataFrame:
    """Return the mean density of all subjects; outside of a subject's histogram it is 0."""
    places = np.linspace(bins["low"].min(), bins["high"].max(), PLACES)
    densities = []
    for _, own in bins.groupby("subject"):
        # Up to the outer edges of the outer bins.
        ends = [own["low"].iloc[0], *own["intensity"].iloc[1:-1], own["high"].iloc[-1]]
        densities.append(np.interp(places, ends, own["density"], left=0, right=0))
    return pd.DataFrame({"intensity": places, "density": np.mean(densities, axis=0)})


def _draw(table: pd.DataFrame, context: Context) -> Figure:
    channels = list(table["channel"].unique())
    figure = style.new_figure(context.config, columns=2, height_mm=ROW_MM * len(channels) + 6)
    panels = figure.subplots(len(channels), len(STAGES), squeeze=False)
    for row, channel in zip(panels, channels, strict=True):
        for axes, (stage, label) in zip(row, STAGES.items(), strict=True):
            shown = (table["channel"] == channel) & (table["stage"] == stage)
            _panel(axes, table[shown], context)
            if channel == channels[-1]:
                axes.set_xlabel(label)
        name = style.wrap(str(channel), ROW_MM - 12, context.config.font_size_pt, max_lines=1)
        row[0].set_ylabel(f"{style.literal(name)}: density")
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, context: Context) -> None:
    """Draw one channel at one stage."""
    subjects = rows[rows["subject"] != MEAN].groupby("subject", sort=False)
    highest = rows["density"].max()
    # Many lines become a shade, a few stay apart.
    alpha = float(np.clip(8 / len(subjects), 0.08, 0.6))
    for _, line in subjects:
        _line(axes, line, color=style.GREY, lw=0.5, alpha=alpha)
    mean = rows[rows["subject"] == MEAN]
    _line(axes, mean, color=style.colour_of(context.run, context), lw=1.4)
    axes.set_yscale("log")
    axes.set_ylim(highest * RAREST, highest * 2)
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.minorticks_off()
    axes.text(
        0.98,
        0.95,
        f"n = {len(subjects)}",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=style.tiny(context.config),
    )


def _line(axes: Axes, line: pd.DataFrame, **look: Any) -> None:
    """Draw a density; what is rarer than the axis shows runs along its lower edge."""
    axes.plot(line["intensity"], line["density"].clip(lower=1e-30), **look)
