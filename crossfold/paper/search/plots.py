"""Pictures of a search: scores over trials, over parameters, and curves over epochs."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from crossfold.config.figures import OKABE_ITO, FiguresConfig
from crossfold.config.inheritance import KIND_KEYS
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
_STEPS = (1, 2, 5, 10)
_RING: dict[str, Any] = {
    "marker": "o",
    "linestyle": "",
    "zorder": 4,
    "markersize": 7,
    "markerfacecolor": "none",
    "markeredgecolor": "black",
}


def draw_trials(
    trials: pd.DataFrame, best: Row | None, label: str, as_it_is: Row | None = None
) -> Picture:
    """Draw the score of every trial in their order, and the best one so far."""
    with mpl.rc_context(style.parameters(CONFIG)):
        figure = style.new_figure(CONFIG, columns=2, height_mm=62)
        axes = figure.subplots()
        for first in trials.groupby("round")["trial"].min().iloc[1:]:
            axes.axvline(first - 0.5, color="#D9D9D9", linewidth=0.5, zorder=0)
        _scatter(axes, trials["trial"].to_numpy(dtype=float), trials)
        so_far = trials.dropna(subset=["mean"])
        axes.step(so_far["trial"], so_far["mean"].cummax(), where="post", color=BLUE, alpha=0.6)
        marks = _marks([axes], best, as_it_is)
        if best is not None:
            axes.plot(best["trial"], best["mean"], **_RING)
        axes.set(xlabel="Trial", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=_STEPS))
        return _picture(figure, trials, marks)


def draw_parameters(
    trials: pd.DataFrame,
    best: Row | None,
    spaces: dict[str, Space],
    label: str,
    as_it_is: Row | None = None,
) -> Picture:
    """Draw the scores over every parameter: one panel each."""
    rows = -(-len(spaces) // _COLUMNS)
    columns, names = min(_COLUMNS, len(spaces)), short_names(spaces)
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
                is_best = (trials["trial"] == best["trial"]).to_numpy()
                axes.plot((numbers + jitter)[is_best], best["mean"], **_RING)
            _axis(axes, key, space, CONFIG.width_mm / columns - 8)
            axes.set_xlabel(style.shorten(names[key], 50, CONFIG.font_size_pt))
        marks = _marks(panels.flat[: len(spaces)], best, as_it_is)
        for axes in panels.flat[len(spaces) :]:
            axes.set_axis_off()
        figure.supylabel(label, fontsize=CONFIG.font_size_pt)
        return _picture(figure, trials, marks)


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
        axes.set(xlabel="Epoch", ylabel="Mean Dice on validation crops")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=_STEPS))
        line = Line2D([], [], color=BLUE, linewidth=1.8, label="best trial")
        return _picture(figure, trials, [] if best is None else [line])


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return keys without their section, in full where two would then be the same.

    Examples
    --------
    >>> short_names(["training.overlap", "inference.overlap", "network.act"]).values()
    dict_values(['training.overlap', 'inference.overlap', 'act'])
    """
    names = {key: key.partition(".")[2] or key for key in keys}
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else key for key, name in names.items()}


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


def _marks(panels: Iterable[Axes], best: Row | None, as_it_is: Row | None) -> list[Line2D]:
    """Draw the score of the model as it is; return what the legend says of it and of the ring."""
    marks = []
    if best is not None:
        marks.append(Line2D([], [], label="best trial", **_RING))
    if as_it_is is not None:
        look: dict[str, Any] = {"color": style.GREY, "linestyle": "--", "linewidth": 0.7}
        for axes in panels:
            axes.axhline(as_it_is["mean"], zorder=1, **look)
        marks.append(Line2D([], [], label="the model as it is", **look))
    return marks


def _axis(axes: Axes, key: str, space: Space, width_mm: float) -> None:
    """Show the values that a parameter may have, on a panel of some width."""
    low, high = space.ends
    if space.choice is not None:
        each_mm = width_mm / len(space.choice) - 1.5
        names = [
            style.wrap(_name(key, value), each_mm, style.small(CONFIG), max_lines=3)
            for value in space.choice
        ]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    elif space.log_uniform:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low <= 30 else (1, 3)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        margin = (high / low) ** 0.06
        axes.set_xlim(low / margin, high * margin)
    else:
        margin = 0.06 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=space.is_integer, steps=_STEPS))


def _name(key: str, value: Any) -> str:
    """Say a choice in short: of a section, its kind; of an import path, what it leads to."""
    if isinstance(value, Mapping):
        kind = next((kind for kind in KIND_KEYS if value.get(kind)), None)
        if kind is None:
            return yaml.safe_dump(value, default_flow_style=True).strip()
        return _name(f"{key}.{kind}", value[kind])
    return re.split("[.:]", str(value))[-1] if key.endswith("._target_") else str(value)


def _picture(figure: Figure, trials: pd.DataFrame, marks: Sequence[Line2D]) -> Picture:
    """Return a PNG with a legend of what there is."""
    here = [status for status in LOOKS if status in set(trials["status"])]
    dots = [style.dot(name, LOOKS[name]["color"], LOOKS[name]["marker"]) for name in here]
    style.legend(figure, [*dots, *marks], CONFIG)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=CONFIG.dpi)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    width, height = (round(side * CONFIG.dpi * _SCREEN_SCALE) for side in figure.get_size_inches())
    return Picture(f"data:image/png;base64,{encoded}", width, height)
