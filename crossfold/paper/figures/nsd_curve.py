"""Normalised surface Dice against its tolerance, which shows how much depends on the choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.facets import (
    FEWEST_FOR_INTERVAL,
    by_subject,
    facets,
    rows_of_split,
    statistics_of,
    structures_of,
)

COLUMNS = ["kind", "structure", "split", "subject", "n", "tolerance_mm", "nsd", "ci_low", "ci_high"]


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw the mean NSD at each tolerance with its interval, one panel per structure.

    Below ten subjects there is no interval, and all subjects are drawn instead. A failure has an
    NSD of 0 at all tolerances.

    Parameters
    ----------
    inputs
        `nsd_curve` and `metrics`, which says the tolerance in use.
    context
        Its options may hold `statistics`, the section of the configuration.

    Raises
    ------
    EmptyFigure
        If no structure has an NSD.
    """
    curve, split = rows_of_split(read_frame(inputs["nsd_curve"]), context)
    metrics, _ = rows_of_split(read_frame(inputs["metrics"]), context)
    curve = curve.dropna(subset=["nsd"])
    structures = structures_of(curve, context)
    if not structures:
        raise EmptyFigure("No structure has a normalised surface Dice.")
    parts = []
    for structure in structures:
        values = by_subject(curve[curve["structure"] == structure], "tolerance_mm", "nsd")
        parts.append(_curve(values, context).assign(structure=structure))
        chosen = metrics[metrics["structure"] == structure].dropna(subset=["nsd"])
        means = chosen.groupby("nsd_tolerance_mm")["nsd"].mean().reset_index()
        parts.append(
            means.rename(columns={"nsd_tolerance_mm": "tolerance_mm"}).assign(
                kind="in use", structure=structure, n=len(values)
            )
        )
    table = pd.concat(parts, ignore_index=True).assign(split=split).reindex(columns=COLUMNS)
    return _draw(table, structures, context), table


def _curve(values: pd.DataFrame, context: Context) -> pd.DataFrame:
    """Return mean and interval at each tolerance, and the subjects themselves where few."""
    table = pd.DataFrame(
        {
            "kind": "mean",
            "n": values.notna().sum().to_numpy(),
            "tolerance_mm": values.columns.astype(float),
            "nsd": values.mean().to_numpy(),
        }
    )
    if len(values) < FEWEST_FOR_INTERVAL:
        subjects = values.reset_index().melt("subject", var_name="tolerance_mm", value_name="nsd")
        subjects["tolerance_mm"] = subjects["tolerance_mm"].astype(float)
        return pd.concat([table, subjects.assign(kind="subject")], ignore_index=True)
    statistics = statistics_of(context)
    low, high = bootstrap_intervals(
        values.to_numpy(dtype=float),
        "mean",
        confidence=statistics.confidence,
        resamples=statistics.resamples,
        seed=statistics.seed,
    )
    return table.assign(ci_low=low, ci_high=high)


def _draw(table: pd.DataFrame, structures: list[str], context: Context) -> Figure:
    grid = facets(
        structures,
        context.config,
        xlabel=style.axis_label("tolerance_mm"),
        ylabel=style.axis_label("nsd"),
    )
    for axes, structure in zip(grid.panels, structures, strict=True):
        _panel(axes, table[table["structure"] == structure], context)
    largest = table["tolerance_mm"].max()
    grid.panels[0].set(ylim=(0, 1.03), xlim=(0, largest if largest > 0 else 1))
    grid.panels[0].xaxis.set_major_locator(MaxNLocator(4, integer=largest >= 4))
    return grid.figure


def _panel(axes: Axes, rows: pd.DataFrame, context: Context) -> None:
    colour = style.colour_of(context.run, context)
    for _, subject in rows[rows["kind"] == "subject"].groupby("subject"):
        axes.plot(subject["tolerance_mm"], subject["nsd"], color=style.GREY, lw=0.5, alpha=0.7)
    mean = rows[rows["kind"] == "mean"]
    axes.fill_between(
        mean["tolerance_mm"], mean["ci_low"], mean["ci_high"], color=colour, alpha=0.25, lw=0
    )
    axes.plot(mean["tolerance_mm"], mean["nsd"], color=colour, lw=1.2)
    size = style.tiny(context.config)
    axes.text(
        0.97,
        0.04,
        f"n = {mean['n'].max():.0f}",
        transform=axes.transAxes,
        ha="right",
        fontsize=size,
    )
    for chosen in rows[rows["kind"] == "in use"].to_dict("records"):
        axes.axvline(chosen["tolerance_mm"], color=style.GREY, lw=0.6, ls=(0, (3, 2)), zorder=0)
        axes.plot([chosen["tolerance_mm"]], [chosen["nsd"]], "o", color=colour, mec="white", ms=4)
        words = f"{chosen['nsd']:.2f} at {chosen['tolerance_mm']:g} mm"
        axes.text(0.97, 0.14, words, transform=axes.transAxes, ha="right", fontsize=size)
