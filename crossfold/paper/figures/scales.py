"""The axis of a metric: limits, ticks that fit, and a place for failures.

An overlap of 0 or a distance of inf says that a structure was missed, not how badly it was drawn:
failures stand in a band of their own, so that they neither stretch the axis nor fall off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.scale import LogTransform, SymmetricalLogTransform
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import IdentityTransform, Transform
from numpy.typing import ArrayLike, NDArray

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style
from crossfold.paper.figures.results import is_distance

_ROOM = 0.03
_DECADE = 10
_LINEAR_SHARE = 0.5


@dataclass(frozen=True)
class Scale:
    """An axis of a metric.

    Parameters
    ----------
    low, high
        Limits of the values.
    limits
        Limits of the axis: with the band, where there is one.
    band
        Limits of the band of failures, or None where nothing failed.
    linear_until
        Where a symlog axis becomes linear; 0 for a linear or a logarithmic axis.
    """

    metric: str
    kind: Literal["linear", "log", "symlog"]
    low: float
    high: float
    limits: tuple[float, float]
    band: tuple[float, float] | None
    linear_until: float = 0.0

    @property
    def label(self) -> str:
        """Return the name of the metric, and where the axis starts if that is not at 0."""
        name = style.axis_label(self.metric)
        if is_distance(self.metric) or self.low <= 0:
            return name
        return f"{name} (axis starts at {self.low:g})"

    @property
    def failed(self) -> float:
        """Return the place of failures: the middle of the band, or the worst end without one."""
        if self.band is None:
            return self.high if is_distance(self.metric) else self.low
        return float(self.at([0.5], self.band)[0])

    def at(self, fractions: ArrayLike, limits: tuple[float, float] | None = None) -> NDArray:
        """Return the values at fractions of the way between two limits, as seen on paper."""
        transform = _transform(self.kind, self.linear_until)
        start, end = transform.transform(np.asarray(limits or self.limits, dtype=float))
        return transform.inverted().transform(start + np.asarray(fractions) * (end - start))

    def fraction(self, values: ArrayLike) -> NDArray:
        """Return how far along the axis values are, from 0 to 1."""
        transform = _transform(self.kind, self.linear_until)
        start, end = transform.transform(np.asarray(self.limits, dtype=float))
        return (transform.transform(np.asarray(values, dtype=float)) - start) / (end - start)

    def place(self, values: ArrayLike, failed: ArrayLike | bool = False) -> NDArray:
        """Return where values are drawn: failures in the band, others within the limits."""
        numbers = np.asarray(values, dtype=float)
        beyond = numbers > self.high if is_distance(self.metric) else numbers < self.low
        in_band = np.asarray(failed, dtype=bool) | (beyond & (self.band is not None))
        return np.where(in_band, self.failed, np.clip(numbers, self.low, self.high))

    def apply(
        self, axes: Axes, axis: Literal["x", "y"], *, length_mm: float, config: FiguresConfig
    ) -> None:
        """Give an axis this scale, with as many ticks as fit on its length."""
        linear = {"linthresh": self.linear_until, "linscale": _LINEAR_SHARE}
        options = linear if self.kind == "symlog" else {}
        if axis == "x":
            axes.set_xscale(self.kind, **options)
            axes.set_xlim(self.limits)
        else:
            axes.set_yscale(self.kind, **options)
            axes.set_ylim(self.limits)
        ticks = self.ticks(axis, length_mm, style.small(config))
        which = axes.xaxis if axis == "x" else axes.yaxis
        which.set_major_locator(FixedLocator(ticks))
        which.set_major_formatter(FixedFormatter(_texts(ticks)))
        which.set_minor_locator(NullLocator())
        if self.band:
            style.failure_band(axes, *self.band, axis=axis, size_pt=style.tiny(config))

    def ticks(self, axis: Literal["x", "y"], length_mm: float, size_pt: float) -> list[float]:
        """Return the densest round numbers whose labels do not touch."""
        ticks: list[float] = []
        for ticks in self._candidates():
            places = self.fraction(ticks) * length_mm
            if axis == "x":
                sizes = np.array([style.text_width_mm(text, size_pt) for text in _texts(ticks)])
            else:
                sizes = np.full(len(ticks), style.line_height_mm(size_pt))
            gaps = np.diff(places) - (sizes[1:] + sizes[:-1]) / 2
            if (gaps > 0.35 * size_pt).all():
                break
        return ticks

    def _candidates(self) -> list[list[float]]:
        """Return lists of ticks, the densest first."""
        inside = (self.low - 1e-9, self.high + 1e-9)
        found = []
        if self.kind != "linear" and self.high > 3 * max(self.low, 1e-9):
            for digits in ((1, 2, 5), (1, 3), (1,)):
                series = [digit * 10.0**power for power in range(-4, 6) for digit in digits]
                series = [0.0, *series] if self.kind == "symlog" else series
                too_close = self.linear_until * 0.99
                found.append(
                    [t for t in series if inside[0] <= t <= inside[1] and not 0 < t < too_close]
                )
        for count in (7, 5, 4, 3, 2, 1):
            steps = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
            found.append([float(t) for t in steps if inside[0] <= t <= inside[1]])
        found = [np.unique(np.round(ticks, 10)).tolist() for ticks in found]
        enough = [ticks for ticks in found if len(ticks) > 1]
        return [*enough, [self.low]]


def scale_of(
    metric: str, values: ArrayLike, failed: ArrayLike, *, length_mm: float, config: FiguresConfig
) -> Scale:
    """Choose the axis for values of a metric.

    Parameters
    ----------
    values, failed
        All values that are drawn, and whether each is a failure.
    length_mm
        About how long the axis is printed, which decides how wide the band of failures is.
    """
    finite = np.asarray(values, dtype=float)
    is_failure = np.asarray(failed, dtype=bool) | ~np.isfinite(finite)
    finite = finite[~is_failure]
    wide = style.text_width_mm("failed", style.tiny(config)) + 1
    share = min(0.25, wide / length_mm) if is_failure.any() else 0.0
    if is_distance(metric):
        return _distance_scale(metric, finite, share)
    low = float(np.floor(finite.min() * 10 - 0.2) / 10) if len(finite) else 0.0
    low = 0.0 if low < 0.3 else min(round(low, 1), 0.9)
    room = _ROOM * (1 - low)
    width = share / (1 - share) * (1 + 2 * room - low)
    band = (low - room - width, low - room) if share else None
    start = band[0] if band else low - (room if low else room / 2)
    return Scale(metric, "linear", low, 1.0, (start, 1 + room), band)


def _distance_scale(metric: str, finite: NDArray[np.float64], share: float) -> Scale:
    positive = finite[finite > 0]
    kind: Literal["log", "symlog"] = "log" if len(positive) == len(finite) else "symlog"
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 10.0)
    linear_until = low if kind == "symlog" else 0.0
    if high < 2 * low:
        low, high = low / 1.5, high * 1.5
    low = 0.0 if kind == "symlog" else low
    transform = _transform(kind, linear_until)
    start, end = transform.transform(np.array([low, high]))
    room = _ROOM * (end - start)
    ends = np.array([start - room, end + room, end + room + share / (1 - share) * (end - start)])
    first, border, last = (float(x) for x in transform.inverted().transform(ends))
    band = (border, last) if share else None
    return Scale(metric, kind, low, high, (first, last), band, linear_until)


def _transform(kind: str, linear_until: float) -> Transform:
    if kind == "log":
        return LogTransform(_DECADE)
    if kind == "symlog":
        return SymmetricalLogTransform(_DECADE, linear_until, _LINEAR_SHARE)
    return IdentityTransform()


def _texts(ticks: Sequence[float]) -> list[str]:
    """Return ticks with as many decimals as they need; steps of one size all with the same."""
    equal = len(ticks) > 1 and np.allclose(np.diff(ticks), ticks[1] - ticks[0])
    decimals = max((len(f"{tick:g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{decimals}f}" if equal and tick else f"{tick:g}" for tick in ticks]
