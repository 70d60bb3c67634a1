"""Reliability diagrams: whether what the model calls probable is as frequent as it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.facets import (
    FEWEST_FOR_INTERVAL,
    facets,
    rows_of_split,
    statistics_of,
    structures_of,
)

# Lower end of the logarithmic axis of the shares of voxels: most are close to 0 or 1.
LEAST_SHARE = 1e-3
COLUMNS = [
    *("kind", "structure", "split", "n", "bin_low", "bin_high", "mean_confidence"),
    *("frequency", "frequency_q1", "frequency_q3", "share", "ece", "ci_low", "ci_high"),
]


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw the frequency of a structure against its predicted probability.

    A diagram is made for each image, in a band around the structure, since background far away
    would drown everything else. Shown are median and quartiles over images, and below them the
    mean share of voxels.

    Parameters
    ----------
    inputs
        `calibration_bins` and `posteriors`.
    context
        Its options may hold `statistics`, the section of the configuration.

    Raises
    ------
    EmptyFigure
        If there are no posteriors.
    """
    bins, split = rows_of_split(read_frame(inputs["calibration_bins"]), context)
    errors, _ = rows_of_split(read_frame(inputs["posteriors"]), context)
    bins = bins[bins["n_voxels"] > 0]
    structures = structures_of(bins, context)
    if not structures:
        raise EmptyFigure("There are no posteriors whose calibration could be shown.")
    parts = []
    for structure in structures:
        parts.append(_over_images(bins[bins["structure"] == structure]).assign(structure=structure))
        error = errors.loc[errors["structure"] == structure, "ece"].dropna()
        parts.append(_mean_error(error, context).assign(structure=structure))
    table = pd.concat(parts, ignore_index=True).assign(split=split).reindex(columns=COLUMNS)
    return _draw(table, structures, context), table


def _over_images(bins: pd.DataFrame) -> pd.DataFrame:
    """Return one row per bin: median and quartiles over the images that have voxels in it."""
    images = bins["subject"].nunique()
    share = bins["n_voxels"] / bins.groupby("subject")["n_voxels"].transform("sum")
    groups = bins.assign(share=share).groupby(["bin_low", "bin_high"])
    table = groups.agg(
        n=("subject", "nunique"),
        mean_confidence=("mean_confidence", "median"),
        frequency=("frequency", "median"),
        # Images without a voxel in the bin count as 0.
        share=("share", "sum"),
    )
    table["share"] /= images
    for name, quantile in (("frequency_q1", 0.25), ("frequency_q3", 0.75)):
        table[name] = groups["frequency"].quantile(quantile)
    return table.reset_index().assign(kind="bin")


def _mean_error(error: pd.Series, context: Context) -> pd.DataFrame:
    """Return the mean expected calibration error over images, with its interval."""
    low = high = np.full(1, np.nan)
    if len(error) >= FEWEST_FOR_INTERVAL:
        statistics = statistics_of(context)
        low, high = bootstrap_intervals(
            error.to_numpy(dtype=float)[:, None],
            "mean",
            confidence=statistics.confidence,
            resamples=statistics.resamples,
            seed=statistics.seed,
        )
    return pd.DataFrame(
        {"kind": "ece", "n": len(error), "ece": error.mean(), "ci_low": low, "ci_high": high}
    )


def _draw(table: pd.DataFrame, structures: list[str], context: Context) -> Figure:
    grid = facets(
        structures,
        context.config,
        xlabel="Predicted probability",
        ylabel="Observed frequency",
        strip="voxels",
    )
    for axes, strip, structure in zip(grid.panels, grid.strips, structures, strict=True):
        rows = table[table["structure"] == structure]
        _reliability(axes, rows, context)
        bins = rows[rows["kind"] == "bin"]
        width = bins["bin_high"] - bins["bin_low"]
        strip.bar(
            bins["bin_low"],
            bins["share"],
            width=width,
            align="edge",
            color=style.GREY,
            ec="white",
            lw=0.3,
        )
    ticks = ([0, 0.5, 1], ["0", "0.5", "1"])
    grid.panels[0].set(xlim=(0, 1), ylim=(0, 1.02))
    grid.panels[0].set_xticks(*ticks)
    grid.panels[0].set_yticks(*ticks)
    grid.strips[0].set(yscale="log", ylim=(LEAST_SHARE, 1), yticks=[0.01, 1])
    grid.strips[0].set_yticklabels(["1 %", "100 %"])
    grid.strips[0].minorticks_off()
    return grid.figure


def _reliability(axes: Axes, rows: pd.DataFrame, context: Context) -> None:
    colour = style.colour_of(context.run, context)
    axes.plot([0, 1], [0, 1], color=style.GREY, lw=0.6, ls=(0, (3, 2)), zorder=1)
    bins = rows[rows["kind"] == "bin"].sort_values("mean_confidence")
    x = bins["mean_confidence"]
    axes.fill_between(x, bins["frequency_q1"], bins["frequency_q3"], color=colour, alpha=0.25, lw=0)
    axes.plot(x, bins["frequency"], color=colour, marker="o", ms=2.5)
    error = rows[rows["kind"] == "ece"].iloc[0]
    words = "" if np.isnan(error["ece"]) else f"ECE {error['ece']:.3f}"
    if np.isfinite(error["ci_low"]):
        words += f"\n[{error['ci_low']:.3f}, {error['ci_high']:.3f}]"
    # In the corner that the curve leaves free.
    above = (bins["frequency"] - x).mean() > 0
    axes.text(
        *((0.97, 0.03) if above else (0.04, 0.97)),
        f"{words}\nn = {error['n']:.0f}".strip(),
        transform=axes.transAxes,
        ha="right" if above else "left",
        va="bottom" if above else "top",
        fontsize=style.tiny(context.config),
    )
