"""What uncertainty is good for: does it point at bad segmentations, and does it cover volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from crossfold.evaluation.calibration import VOLUME_COVERAGE
from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.facets import rows_of_split, statistics_of, structures_of

UPPER_MM = 62.0
ROW_MM = 3.4
LOWEST_MM = 12.0
_AXES_MM = 12.0
_LINES = ("solid", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
COLUMNS = [
    *("kind", "structure", "split", "subject", "n", "uncertainty", "dice", "coverage", "risk"),
    *("value", "ci_low", "ci_high"),
]


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw uncertainty against Dice, the risk by coverage, Spearman's rho, and the hit rate.

    Uncertainty is the mean normalised entropy in a band around the structure. The risk is 1 minus
    the mean Dice of the subjects that are left when the most uncertain ones are set aside.

    Parameters
    ----------
    inputs
        `posteriors`.
    context
        Its options may hold `statistics`, the section of the configuration.

    Raises
    ------
    EmptyFigure
        If no structure has both a Dice and an uncertainty.
    """
    rows, split = rows_of_split(read_frame(inputs["posteriors"]), context)
    known = rows.dropna(subset=["dice", "uncertainty"])
    structures = structures_of(known, context)
    if not structures:
        raise EmptyFigure("No structure has both a Dice and an uncertainty.")
    confidence = statistics_of(context).confidence
    parts = []
    for structure in structures:
        own = known[known["structure"] == structure]
        held = rows.loc[rows["structure"] == structure, "in_interval"]
        part = pd.concat(
            [
                own[["subject", "uncertainty", "dice"]].assign(kind="subject"),
                _risk(own),
                _correlation(own, confidence),
                _hit_rate(held, confidence),
            ],
            ignore_index=True,
        )
        parts.append(part.assign(structure=structure))
    table = pd.concat(parts, ignore_index=True).assign(split=split).reindex(columns=COLUMNS)
    return _draw(table, structures, context), table


def _risk(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the risk of the most certain subjects, from one of them to all."""
    ordered = rows.sort_values(["uncertainty", "subject"])
    count = np.arange(1, len(ordered) + 1)
    risk = (1 - ordered["dice"]).to_numpy().cumsum() / count
    return pd.DataFrame({"kind": "risk", "n": count, "coverage": count / len(count), "risk": risk})


def _correlation(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return Spearman's rho of uncertainty and Dice.

    Its interval is that of Bonett and Wright (Psychometrika 2000, doi 10.1007/BF02294183).
    """
    n, rho, low, high = len(rows), np.nan, np.nan, np.nan
    if n > 2 and rows["uncertainty"].nunique() > 1 and rows["dice"].nunique() > 1:
        rho = float(stats.spearmanr(rows["uncertainty"], rows["dice"]).statistic)
    if n > 3 and abs(rho) < 1:
        error = np.sqrt((1 + rho**2 / 2) / (n - 3))
        half = stats.norm.ppf((1 + confidence) / 2) * error
        low, high = np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half)
    return _one_row("spearman", n, rho, low, high)


def _hit_rate(held: pd.Series, confidence: float) -> pd.DataFrame:
    """Return how often the interval held the reference volume, with its interval (Wilson 1927)."""
    known = held[held.isin([True, False, "True", "False"])].astype(str)
    if known.empty:
        return _one_row("volume_interval", 0, np.nan, np.nan, np.nan)
    hits = int((known == "True").sum())
    interval = stats.binomtest(hits, len(known)).proportion_ci(confidence, method="wilson")
    share = hits / len(known)
    return _one_row("volume_interval", len(known), share, interval.low, interval.high)


def _one_row(kind: str, n: int, value: float, low: float, high: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"kind": [kind], "n": [n], "value": [value], "ci_low": [low], "ci_high": [high]}
    )


def _draw(table: pd.DataFrame, structures: Sequence[str], context: Context) -> Figure:
    rows_mm = max(LOWEST_MM, ROW_MM * len(structures))
    room_mm = style.MAX_HEIGHT_MM - UPPER_MM - 2 * _AXES_MM
    lower_mm = min(rows_mm, room_mm) + _AXES_MM
    figure = style.new_figure(context.config, columns=2, height_mm=UPPER_MM + _AXES_MM + lower_mm)
    grid = figure.add_gridspec(2, 2, height_ratios=[UPPER_MM, lower_mm])
    scatter, risk, rho, hits = (figure.add_subplot(grid[place]) for place in range(4))
    for place, structure in enumerate(structures):
        rows = table[table["structure"] == structure]
        colour, marker = style.structure_style(structure, context.structures)
        subjects = rows[rows["kind"] == "subject"]
        look: dict[str, Any] = {"color": colour, "marker": marker, "markeredgecolor": "white"}
        scatter.plot(
            subjects["uncertainty"], subjects["dice"], ls="none", ms=3, mew=0.2, alpha=0.8, **look
        )
        curve = rows[rows["kind"] == "risk"]
        line = _LINES[context.structures.index(structure) // 7 % len(_LINES)]
        # A marker where all subjects are kept, as the lines end in different places.
        risk.plot(
            curve["coverage"],
            curve["risk"],
            ls=line,
            ms=4,
            mew=0.3,
            markevery=[-1],
            clip_on=False,
            **look,
        )
        for axes, kind in ((rho, "spearman"), (hits, "volume_interval")):
            _estimate(axes, rows[rows["kind"] == kind].iloc[0], place, look)
    scatter.set(xlabel=style.axis_label("uncertainty"), ylabel=style.axis_label("dice"))
    risk.set(xlabel="Share of subjects kept, most certain first", ylabel="Risk (1 − mean Dice)")
    risk.set(xlim=(0, 1), ylim=(0, None))
    rho.axvline(0, color=style.GREY, lw=0.6, ls=(0, (3, 2)), zorder=0)
    rho.set(xlim=(-1, 1), xlabel="Spearman's rho of uncertainty and Dice")
    hits.axvline(VOLUME_COVERAGE, color=style.GREY, lw=0.6, ls=(0, (3, 2)), zorder=0)
    hits.set(xlim=(0, 1.02))
    hits.set_xlabel(f"Reference volume in the {100 * VOLUME_COVERAGE:.0f} % interval (share)")
    _name_rows(rho, structures, context)
    _name_rows(hits, [], context, count=len(structures))
    for axes, letter in zip((scatter, risk, rho, hits), "abcd", strict=True):
        style.letter(axes, letter)
    return figure


def _estimate(axes: Axes, row: pd.Series, place: int, look: dict[str, Any]) -> None:
    if not np.isfinite(row["value"]):
        words = "too few subjects, or all the same"
        transform = axes.get_yaxis_transform()
        axes.text(0.03, place, words, transform=transform, va="center", color=style.GREY, size=5)
        return
    if np.isfinite(row["ci_low"]):
        axes.plot([row["ci_low"], row["ci_high"]], [place, place], color=look["color"], lw=1.0)
    axes.plot([row["value"]], [place], ls="none", ms=4, mew=0.3, clip_on=False, **look)


def _name_rows(
    axes: Axes, structures: Sequence[str], context: Context, *, count: int | None = None
) -> None:
    """Name the rows, from the top; without names they are those of the panel beside."""
    count = len(structures) if count is None else count
    size = style.small(context.config)
    width_mm = context.config.width_mm / 5
    names = [style.literal(style.shorten(name, width_mm, size)) for name in structures]
    axes.set_yticks(range(count), names or [""] * count, fontsize=size)
    axes.set_ylim(count - 0.5, -0.5)
