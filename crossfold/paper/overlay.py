"""One picture of a prediction: the contours of its structures in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from crossfold.images import Image, atomic_path
from crossfold.paper.slices import AXES, CONTOUR_COLOURS

_HEIGHT_INCH, _WIDEST_INCH, _DPI = 3.6, 18.0, 150
_LEGEND_INCH = 0.22
_PERCENTILES = (0.5, 99.5)
_MOST_COLUMNS = 6


def draw_overlay(
    path: Path, *, image: Image, segmentation: NDArray[np.uint8], structures: Sequence[str]
) -> None:
    """Draw axial, coronal and sagittal slices, each where it shows most of all structures.

    The patient's right is at the left, the front at the top or at the left.

    Parameters
    ----------
    path
        PNG to write.
    image
        What was segmented.
    segmentation
        (x, y, z) on the grid of the image.
    structures
        In the order of their labels.
    """
    shown = image.to_ras()
    labels = Image(segmentation, image.affine, image.header).to_ras().array
    places = [_fullest(labels, axis, len(structures)) for axis in AXES.values()]
    # A sparse sample: percentiles of all voxels would take longer than the prediction.
    step = max(1, round((shown.array.size / 1e6) ** (1 / 3)))
    black, white = np.percentile(shown.array[::step, ::step, ::step], _PERCENTILES)
    slices = [
        _Slice(
            f"{name} {place + 1} / {labels.shape[axis]}",
            "A" if name == "sagittal" else "R",
            _view(shown.array, axis, place),
            _view(labels, axis, place),
            *_size_mm(shown, axis),
        )
        for (name, axis), place in reversed(list(zip(AXES.items(), places, strict=True)))
    ]
    widths = [shown_slice.wide_mm / shown_slice.high_mm for shown_slice in slices]
    rows = -(-len(structures) // _MOST_COLUMNS)
    high = min(_HEIGHT_INCH, _WIDEST_INCH / sum(widths))
    height = high + _LEGEND_INCH * (rows + 1)
    figure = Figure(figsize=(high * sum(widths), height), dpi=_DPI, facecolor="black")
    FigureCanvasAgg(figure)
    left, top = 0.0, 1 - _LEGEND_INCH / height
    for shown_slice, width in zip(slices, widths, strict=True):
        share = high / height
        axes = figure.add_axes((left / sum(widths), top - share, width / sum(widths), share))
        left += width
        _draw(axes, shown_slice, (black, max(white, black + 1e-6)))
    handles = [
        Line2D([], [], color=_colour(value), label=structure)
        for value, structure in enumerate(structures)
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=-(-len(structures) // rows),
        fontsize=8,
        frameon=False,
        labelcolor="white",
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="black")


@dataclass(frozen=True)
class _Slice:
    """What is shown of a plane: its title, which side of the patient is at the left, and pixels."""

    title: str
    left: str
    pixels: NDArray
    labels: NDArray[np.uint8]
    wide_mm: float
    high_mm: float


def _draw(axes: Axes, shown: _Slice, shades: tuple[float, float]) -> None:
    extent = (0, shown.wide_mm, shown.high_mm, 0)
    axes.imshow(
        shown.pixels,
        cmap="gray",
        vmin=shades[0],
        vmax=shades[1],
        extent=extent,
        interpolation="bilinear",
        aspect="auto",
    )
    # Around the slice there is nothing, so that contours close where the image ends.
    outlined = np.pad(shown.labels, 1)
    rows, columns = shown.labels.shape
    x = (np.arange(columns + 2) - 0.5) * shown.wide_mm / columns
    y = (np.arange(rows + 2) - 0.5) * shown.high_mm / rows
    for value in np.unique(shown.labels[shown.labels > 0]):
        axes.contour(
            x, y, outlined == value, levels=[0.5], colors=[_colour(value - 1)], linewidths=1.0
        )
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])
    axes.set_title(shown.title, color="white", fontsize=8, pad=3)
    axes.text(0.02, 0.5, shown.left, color="white", fontsize=8, transform=axes.transAxes)
    axes.set_axis_off()


def _fullest(labels: NDArray, axis: int, count: int) -> int:
    """Return the slice with the largest shares of structures; the middle one without any."""
    others = tuple(other for other in range(3) if other != axis)
    shares = np.zeros(labels.shape[axis])
    for value in range(1, count + 1):
        inside = np.count_nonzero(labels == value, axis=others)
        shares += inside / max(1, inside.sum())
    return int(shares.argmax()) if shares.any() else labels.shape[axis] // 2


def _view(array: NDArray, axis: int, place: int) -> NDArray:
    """Return a slice as it is looked at: rows from the top, columns from the left."""
    return np.take(array, place, axis=axis).T[::-1, ::-1]


def _size_mm(image: Image, axis: int) -> tuple[float, float]:
    """Return width and height of a slice."""
    sizes = np.multiply(image.array.shape, image.spacing_mm)
    wide, high = np.delete(sizes, axis)
    return float(wide), float(high)


def _colour(place: int) -> str:
    return CONTOUR_COLOURS[place % len(CONTOUR_COLOURS)]
