"""One slice with the contours of reference and prediction, and what is written on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patheffects import AbstractPathEffect
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.paper import style
from crossfold.paper.slices import AXES, Case, contour_colours

DASHES = (0, (2.2, 1.4))
# Letters at the left, right, bottom and top, as radiologists look at a patient: from the feet, from
# the front, and with the face to the left.
EDGES = {"axial": [*"RLPA"], "coronal": [*"RLIS"], "sagittal": [*"APIS"]}
BAR_LENGTHS_MM = (1, 2, 5, 10, 20, 50, 100, 200)

_PAD_MM = 0.5
# Text and contours are seen on bone and on air.
_SHADOW_OF_TEXT: list[AbstractPathEffect] = [
    patheffects.withStroke(linewidth=1.0, foreground="black")
]
_SHADOW_OF_LINES: list[AbstractPathEffect] = [
    patheffects.withStroke(linewidth=1.5, foreground="black", alpha=0.5)
]

Box = tuple[float, float, float, float]


def in_plane(plane: str) -> tuple[int, int]:
    """Return the axes of an image that run across and up in a plane."""
    across, up = (axis for axis in range(3) if axis != AXES[plane])
    return across, up


class Panel:
    """Axes that show one plane of a subject; all lengths on them are mm of paper.

    Parameters
    ----------
    axes
        Axes to draw on; they show `view_mm` in its right proportions.
    case, plane
        Subject, and which plane of it.
    view_mm
        Size of the part of the body that is shown, along x, y, z.
    scale
        Paper per tissue.
    size_pt
        Size of letters and numbers.
    """

    def __init__(
        self,
        axes: Axes,
        case: Case,
        plane: str,
        *,
        view_mm: Sequence[float],
        scale: float,
        size_pt: float,
    ) -> None:
        self.axes, self.case, self.plane = axes, case, plane
        self.scale, self.size_pt = scale, size_pt
        across, up = in_plane(plane)
        self.wide, self.high = scale * view_mm[across], scale * view_mm[up]
        self.view = case.view(view_mm)
        self.steps = scale * case.spacing_mm[across], scale * case.spacing_mm[up]
        columns, rows = (self.view[axis].stop - self.view[axis].start for axis in (across, up))
        # In the middle where the image is smaller than the part of others that is shown.
        self.corner = (
            (self.wide - columns * self.steps[0]) / 2,
            (self.high - rows * self.steps[1]) / 2,
        )
        self.taken: list[Box] = []
        # Seen from the feet, or with the face to the left, x and y run from right to left.
        axes.set(xlim=(self.wide, 0), ylim=(0, self.high), xticks=[], yticks=[], facecolor="black")
        axes.spines[:].set_visible(False)

    def draw(self) -> None:
        """Draw image, contours, and letters at the edges."""
        pixels = self._slice(self.case.image)
        black, white = self.case.window(self.view)
        x, y = self.corner
        right, top = x + pixels.shape[1] * self.steps[0], y + pixels.shape[0] * self.steps[1]
        self.axes.imshow(
            pixels,
            cmap="gray",
            vmin=black,
            vmax=white,
            origin="lower",
            extent=(x, right, y, top),
            aspect="auto",
        )
        self.axes.set(xlim=(self.wide, 0), ylim=(0, self.high))
        self._contours(self.case.reference, 0, "solid")
        self._contours(self.case.prediction, 1, DASHES)
        left, right_letter, bottom, top_letter = EDGES[self.plane]
        middle, half = self.wide / 2, self.high / 2
        self.write(left, self.wide - _PAD_MM, half, "left", "center")
        self.write(right_letter, _PAD_MM, half, "right", "center")
        self.write(bottom, middle, _PAD_MM, "center", "bottom")
        self.write(top_letter, middle, self.high - _PAD_MM, "center", "top")

    def write(
        self, text: str, x: float, y: float, across: str, up: str, *, colour: str = "white"
    ) -> bool:
        """Write text, unless something is written there; return whether it was.

        Parameters
        ----------
        text
            A line of text.
        x, y
            Where it begins, ends or has its centre; x counts from the right, as the axes do.
        across, up
            Horizontal and vertical alignment, as matplotlib names them.
        colour
            Of the text.
        """
        box = self._box(text, x, y, across, up)
        if any(_overlap(box, other) for other in self.taken):
            return False
        self.taken.append(box)
        self.axes.text(
            *(x, y, text),
            ha=across,
            va=up,
            color=colour,
            fontsize=self.size_pt,
            path_effects=_SHADOW_OF_TEXT,
        )
        return True

    def note(self, text: str) -> None:
        """Write a note at the upper left, where there is room for it."""
        self.write(text, self.wide - _PAD_MM, self.high - _PAD_MM, "left", "top")

    def scale_bar(self) -> None:
        """Draw a bar of a round length at the lower left, with its length in mm of tissue."""
        length = max(
            (mm for mm in BAR_LENGTHS_MM if mm * self.scale <= 0.3 * self.wide),
            default=BAR_LENGTHS_MM[0],
        )
        start, height = self.wide - 2 * _PAD_MM, 2 * _PAD_MM
        end = start - length * self.scale
        self.axes.plot(
            [start, end],
            [height, height],
            color="white",
            linewidth=1.5,
            solid_capstyle="butt",
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="black")],
        )
        self.taken.append((end, height - _PAD_MM, start, height + _PAD_MM))
        self.write(f"{length} mm", start, height + 0.6, "left", "bottom")

    def number_structures(self) -> None:
        """Write the number of each structure inside it or beside it, large structures first."""
        reference, prediction = self._slice(self.case.reference), self._slice(self.case.prediction)
        shown = np.where(reference > 0, reference, prediction)
        values, sizes = np.unique(shown[shown > 0], return_counts=True)
        for value in values[np.argsort(-sizes, kind="stable")]:
            for x, y in self._places_of(shown == value):
                colour = contour_colours(int(value) - 1)[0]
                if self.write(str(value), x, y, "center", "center", colour=colour):
                    break

    def _places_of(self, mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
        """Innermost point of a structure, then points to the left, right, below and above it."""
        depth = ndimage.distance_transform_edt(np.pad(mask, 1), self.steps[::-1])[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        x, y = (
            corner + (float(place) + 0.5) * step
            for corner, place, step in zip(self.corner, (column, row), self.steps, strict=True)
        )
        rows, columns = np.nonzero(mask)
        left, right = (self.corner[0] + edge * self.steps[0] for edge in _ends(columns))
        bottom, top = (self.corner[1] + edge * self.steps[1] for edge in _ends(rows))
        away = style.line_height_mm(self.size_pt) * 0.7
        outside = [(right + away, y), (left - away, y), (x, bottom - away), (x, top + away)]
        return [(x, y), *(place for place in outside if self._holds(*place, away))]

    def _holds(self, x: float, y: float, margin: float) -> bool:
        return margin <= x <= self.wide - margin and margin <= y <= self.high - margin

    def _slice(self, array: NDArray) -> NDArray:
        """Rows up, columns across, of the part in view."""
        axis = AXES[self.plane]
        index = self.case.slices[axis] - self.view[axis].start
        return array[self.view].take(index, axis=axis).T

    def _contours(self, labels: NDArray, tone: int, line: object) -> None:
        # A frame of background closes the contours at the border of the image.
        framed = np.pad(self._slice(labels), 1)
        columns, rows = (
            corner + step * (np.arange(size) - 0.5)
            for corner, step, size in zip(
                self.corner, self.steps, reversed(framed.shape), strict=True
            )
        )
        for value in np.unique(framed[framed > 0]):
            contours = self.axes.contour(
                *(columns, rows, framed == value, [0.5]),
                colors=[contour_colours(int(value) - 1)[tone]],
                linewidths=0.9,
                linestyles=[line],
            )
            contours.set_path_effects(_SHADOW_OF_LINES)

    def _box(self, text: str, x: float, y: float, across: str, up: str) -> Box:
        wide = style.text_width_mm(text, self.size_pt) + _PAD_MM
        high = style.line_height_mm(self.size_pt)
        # x counts from the right: text that begins at x ends at x - wide.
        left = {"left": x - wide, "center": x - wide / 2, "right": x}[across]
        bottom = {"bottom": y, "center": y - high / 2, "top": y - high}[up]
        return left, bottom, left + wide, bottom + high


def _ends(places: NDArray[np.intp]) -> tuple[float, float]:
    return float(places.min()), float(places.max() + 1)


def _overlap(one: Box, other: Box) -> bool:
    across = one[0] < other[2] and other[0] < one[2]
    return across and one[1] < other[3] and other[1] < one[3]
