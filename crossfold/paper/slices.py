"""Subjects for pictures: which slice to show, how much of it, and in which shades of grey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray

from crossfold.data.dataset import Dataset
from crossfold.images import Image, read_labels
from crossfold.paths import subject_file

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
# Okabe and Ito (2008), in the order in which they stand out from grey.
CONTOUR_COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73", "#D55E00", "#0072B2")
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Case:
    """A subject's image, reference and prediction: arrays (x, y, z), right, anterior, superior.

    Parameters
    ----------
    image, reference, prediction
        Voxels; the label maps hold 0 for background and the place of a structure, from 1.
    spacing_mm
        Size of a voxel along x, y, z.
    """

    image: NDArray[np.float32]
    reference: NDArray[np.integer]
    prediction: NDArray[np.integer]
    spacing_mm: tuple[float, float, float]

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Voxels around all structures of reference and prediction; all where there are none."""
        outlined = (self.reference > 0) | (self.prediction > 0)
        sides = []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            places = np.flatnonzero(outlined.any(axis=others))
            low, high = (places[0], places[-1] + 1) if places.size else (0, outlined.shape[axis])
            sides.append(slice(int(low), int(high)))
        return tuple(sides)

    @cached_property
    def dice_loss(self) -> tuple[NDArray[np.float64], ...]:
        """What each slice along x, y, z takes from the Dice, summed over structures.

        The Dice of a structure is 1 - wrong / (reference + prediction), so that each wrong voxel
        has its price, and small structures weigh as much as large ones.
        """
        count = 1 + max(int(self.reference.max()), int(self.prediction.max()))
        sizes = sum(
            np.bincount(labels.ravel(), minlength=count)
            for labels in (self.reference, self.prediction)
        )
        price = 1.0 / np.maximum(sizes, 1)
        price[0] = 0.0
        wrong = self.reference != self.prediction
        lost = np.zeros(wrong.shape)
        lost[wrong] = price[self.reference[wrong]] + price[self.prediction[wrong]]
        return tuple(lost.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1)))

    @cached_property
    def slices(self) -> tuple[int, int, int]:
        """Slice along x, y, z that takes most from the mean Dice.

        Where nothing is wrong, the slice with most of the reference; the middle one without any.
        """
        x, y, z = (int(loss.argmax()) for loss in self.dice_loss)
        if not self.dice_loss[0].any():
            x, y, z = (
                int(inside.sum(axis=others).argmax()) if inside.any() else inside.shape[axis] // 2
                for inside in [self.reference > 0]
                for axis, others in enumerate(((1, 2), (0, 2), (0, 1)))
            )
        return x, y, z

    def window(self, view: Sequence[slice]) -> tuple[float, float]:
        """Intensities that are shown black and white: percentiles of the part in view."""
        low, high = np.nanpercentile(self.image[tuple(view)], _PERCENTILES)
        return float(low), float(max(high, low + 1e-6))

    def view(self, extent_mm: Sequence[float]) -> tuple[slice, ...]:
        """Voxels of a part of the image around the structures, moved to lie within the image.

        Parameters
        ----------
        extent_mm
            Size of that part along x, y, z; it ends where the image ends.
        """
        sides = []
        for axis, side in enumerate(self.box):
            size = self.image.shape[axis]
            count = min(size, int(np.ceil(extent_mm[axis] / self.spacing_mm[axis] - 1e-3)))
            start = round((side.start + side.stop - count) / 2)
            start = min(max(start, 0), size - count)
            sides.append(slice(start, start + count))
        return tuple(sides)

    def extent_mm(self, margin_mm: float) -> tuple[float, float, float]:
        """Size of the box around all structures with a margin, within the image."""
        x, y, z = (
            min((side.stop - side.start) * spacing + 2 * margin_mm, size * spacing)
            for side, size, spacing in zip(self.box, self.image.shape, self.spacing_mm, strict=True)
        )
        return x, y, z


def read_case(
    dataset: Dataset,
    segmentation: Path | None,
    subject: str,
    *,
    image: str,
    structures: Sequence[str],
) -> Case:
    """Read a subject.

    Parameters
    ----------
    dataset
        Images and contours.
    segmentation
        File of the prediction; None where there is none, which shows the reference alone.
    subject
        Name of the subject.
    image
        Channel to show.
    structures
        Structures in the order of their labels.

    Raises
    ------
    CrossfoldError
        If a file is missing or unreadable.
    """
    reference = dataset.label_map(subject, structures).to_ras()
    shown = dataset.image(subject, image).to_ras()
    predicted: Image = read_labels(segmentation).to_ras() if segmentation else reference
    return Case(shown.array, reference.array, predicted.array, shown.spacing_mm)


def find_segmentation(directories: Sequence[Path], subject: str) -> Path | None:
    """Return a subject's file in the first directory that holds it.

    A fold's directory stands for its validation subjects, whom its model never saw.
    """
    for directory in directories:
        for folder in (directory, directory / "val"):
            path = subject_file(folder, subject)
            if path.is_file():
                return path
    return None


def contour_colours(place: int) -> tuple[str, str]:
    """Return the tones of a structure, pale for the reference, full for the prediction."""
    full = CONTOUR_COLOURS[place % len(CONTOUR_COLOURS)]
    red, green, blue = (0.45 * part + 0.55 for part in to_rgb(full))
    return to_hex((red, green, blue)), full


def own_labels(labels: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """Return the structures that a segmentation holds, in the order of their labels.

    Parameters
    ----------
    labels
        What `crossfold.config.labels.label_values` returns: unions have several labels, and stand
        behind the structures.
    """
    own: dict[int, str] = {}
    for name, values in labels.items():
        if len(values) == 1:
            own.setdefault(values[0], name)
    return tuple(own[value] for value in sorted(own))
