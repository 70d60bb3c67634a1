"""Pictures of a search: scores over trials, over parameters, and curves over epochs."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from crossfold.config.figures import OKABE_ITO, FiguresConfig
from crossfold.config.search import Space
from crossfold.paper import style
from crossfold.paper.report.pictures import Picture
from crossfold.search.best import Row
from crossfold.search.table import COMPLETE, FAILED, STOPPED, value_of

CONFIG = FiguresConfig(dpi=200)
BLUE, ORANGE = OKABE_ITO[0], OKABE_ITO[1]
LOOKS: dict[str, dict[str, Any]] = {
    COMPLETE: {"color": BLUE, "marker": "o", "markersize": 4},
    STOPPED: {"color": ORANGE, "marker": "v", "markersize": 4},
    FAILED: {"color": style.GREY, "marker": "x", "markersize": 4},
}
_SCREEN_SCALE = 1.45 * 96 / 200
_COLUMNS, _PANEL_MM = 3, 46.0


def draw_trials(trials: pd.DataFrame, best: Row | None, label: str) -> Picture:
    """Draw the score of every trial in their order, and the best one so far."""
    with mpl.rc_context(style.parameters(CONFIG)):
        figure = style.new_figure(CONFIG, columns=2, height_mm=62)
        axes = figure.subplots()
        for first in trials.groupby("round")["trial"].min().iloc[1:]:
            axes.axvline(first - 0.5, color="#D9D9D9", linewidth=0.5, zorder=0)
        _scatter(axes, trials["trial"].to_numpy(dtype=float), trials)
        so_far = trials.dropna(subset=["mean"])
        axes.step(so_far["trial"], so_far["mean"].cummax(), where="post", color=BLUE, alpha=0.6)
        _ring(axes, best, None if best is None else best["trial"])
        axes.set(xlabel="Trial", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _picture(figure, trials)


def draw_parameters(
    trials: pd.DataFrame, best: Row | None, spaces: dict[str, Space], label: str
) -> Picture:
    """Draw the scores over every parameter: one panel each."""
    rows = -(-len(spaces) // _COLUMNS)
    columns = min(_COLUMNS, len(spaces))
    with mpl.rc_context(style.parameters(CONFIG)):
        height = rows * _PANEL_MM + 8
        figure = style.new_figure(CONFIG, columns=2 if columns > 1 else 1, height_mm=height)
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (key, space) in zip(panels.flat, spaces.items(), strict=False):
            places = [space.place(value_of(text)) for text in trials[key]]
            numbers = np.array([np.nan if place is None else place for place in places])
            jitter = style.jitter(len(numbers), 0.12) if space.choice is not None else 0
            _scatter(axes, numbers + jitter, trials)
            if best is not None:
                place = np.flatnonzero(trials["trial"] == best["trial"])
                _ring(axes, best, (numbers + jitter)[place])
            _axis(axes, space)
            axes.set_xlabel(style.shorten(key.partition(".")[2], 50, CONFIG.font_size_pt))
        for axes in panels.flat[len(spaces) :]:
            axes.set_axis_off()
        for axes in panels[:, 0]:
            axes.set_ylabel(label)
        return _picture(figure, trials)


def draw_curves(curves: pd.DataFrame, trials: pd.DataFrame, best: Row | None) -> Picture:
    """Draw Dice on validation crops over the epochs of every trial and fold."""
    with mpl.rc_context(style.parameters(CONFIG)):
        figure = style.new_figure(CONFIG, columns=2, height_mm=62)
        axes = figure.subplots()
        for (trial, _, status), curve in curves.groupby(["trial", "fold", "status"]):
            is_best = best is not None and trial == best["trial"]
            axes.plot(
                *(curve["epoch"], curve["dice"]),
                color=LOOKS[str(status)]["color"],
                linewidth=1.8 if is_best else 0.7,
                alpha=1 if is_best else 0.6,
                zorder=3 if is_best else 2,
            )
            axes.plot(curve["epoch"].iloc[-1], curve["dice"].iloc[-1], **LOOKS[str(status)])
        axes.set(xlabel="Epoch", ylabel="Dice on validation crops")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _picture(figure, trials)


def _scatter(axes: Axes, x: np.ndarray, trials: pd.DataFrame) -> None:
    """Draw trials; those without a score stand in a band below the others."""
    scores = trials["mean"].to_numpy(dtype=float)
    low, high = (np.nanmin(scores), np.nanmax(scores)) if np.isfinite(scores).any() else (0, 1)
    height = max(high - low, 0.01)
    missing = ~np.isfinite(scores)
    if missing.any():
        band = low - 0.25 * height, low - 0.1 * height
        style.failure_band(axes, *band, axis="y", label="", size_pt=style.tiny(CONFIG))
        scores = np.where(missing, sum(band) / 2, scores)
    for status, look in LOOKS.items():
        chosen = (trials["status"] == status).to_numpy()
        axes.plot(x[chosen], scores[chosen], linestyle="", zorder=3, **look)


def _ring(axes: Axes, best: Row | None, x: Any) -> None:
    if best is not None:
        axes.plot(x, best["mean"], "o", zorder=4, ms=9, mfc="none", mec="black")


def _axis(axes: Axes, space: Space) -> None:
    low, high = space.ends
    if space.choice is not None:
        names = [style.shorten(_name(value), 16, CONFIG.font_size_pt) for value in space.choice]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif space.log_uniform:
        axes.set_xscale("log")
        margin = (high / low) ** 0.06
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = 0.06 * (high - low)
        axes.set_xlim(low - margin, high + margin)


def _name(value: Any) -> str:
    """Say a choice in short: of a section, its kind."""
    if isinstance(value, Mapping):
        return str(value.get("method") or value.get("_target_") or value).rpartition(".")[2]
    return str(value)


def _picture(figure: Figure, trials: pd.DataFrame) -> Picture:
    """Return a PNG with a legend of what there is."""
    here = [status for status in LOOKS if status in set(trials["status"])]
    dots = [style.dot(name, LOOKS[name]["color"], LOOKS[name]["marker"]) for name in here]
    style.legend(figure, dots, CONFIG)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=CONFIG.dpi)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    width, height = (round(side * CONFIG.dpi * _SCREEN_SCALE) for side in figure.get_size_inches())
    return Picture(f"data:image/png;base64,{encoded}", width, height)
