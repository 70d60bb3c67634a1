"""Reference and segmentation of one subject, and of one structure with what lies near it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crossfold.evaluation.metrics import (
    ROUNDING,
    STATE_OF,
    Box,
    State,
    bounding_boxes,
    mask_of,
    ratio,
    union,
)
from crossfold.evaluation.surface import squared_distance_to, surface_voxels


@dataclass(frozen=True)
class MaskPair:
    """One structure in reference and segmentation, cropped to one box.

    Parameters
    ----------
    reference, prediction
        Boolean arrays of the same shape; all of the structure lies in them.
    spacing_mm
        Voxel size along their axes.
    box
        Where they lie in the image.
    """

    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    spacing_mm: Sequence[float]
    box: Box = (slice(None), slice(None), slice(None))

    @cached_property
    def state(self) -> State:
        """Which of the two masks are present."""
        return STATE_OF[bool(self.reference.any()), bool(self.prediction.any())]

    @cached_property
    def dice(self) -> float:
        """Dice coefficient, as in metrics.csv; NaN where both are empty."""
        both, reference, prediction = (
            int(np.count_nonzero(mask))
            for mask in (self.reference & self.prediction, self.reference, self.prediction)
        )
        return ratio(2 * both, reference + prediction)

    @cached_property
    def surfaces(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Surface voxels of the reference and of the prediction."""
        return surface_voxels(self.reference), surface_voxels(self.prediction)

    @cached_property
    def surface_distances_mm(self) -> NDArray[np.float64]:
        """Distances from each surface to the other, both directions in one array.

        Empty unless both masks are present.
        """
        if self.state != "ok":
            return np.empty(0)
        targets = self.squared_distances[::-1]
        squared = [target[source] for source, target in zip(self.surfaces, targets, strict=True)]
        return np.sqrt(np.concatenate(squared), dtype=np.float64)

    @cached_property
    def squared_distances(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Squared distance in mm2 of every voxel to each surface; inf where there is none."""
        to_reference, to_prediction = (
            squared_distance_to(surface, self.spacing_mm)
            if surface.any()
            else np.full(surface.shape, np.inf, np.float32)
            for surface in self.surfaces
        )
        return to_reference, to_prediction

    def band(self, radius_mm: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Voxels within a radius of the surface of the reference, and of the prediction.

        The radius counts as within. The crop has to reach that far (see `LabelMapPair.pair`).
        """
        largest = np.float32((radius_mm * ROUNDING) ** 2)
        of_reference, of_prediction = (squared <= largest for squared in self.squared_distances)
        return of_reference, of_prediction


@dataclass(frozen=True)
class LabelMapPair:
    """Reference and segmentation of one subject.

    Parameters
    ----------
    reference, prediction
        Integer arrays on the same grid; 0 is background.
    labels
        The label values of each structure.
    spacing_mm
        Voxel size along their axes.
    """

    reference: NDArray[np.integer]
    prediction: NDArray[np.integer]
    labels: Mapping[str, Sequence[int]]
    spacing_mm: Sequence[float]

    def boxes(self, structure: str, predicted_as: str = "") -> tuple[Box | None, Box | None]:
        """Boxes around a structure in reference and prediction; None where it is absent."""
        names = structure, predicted_as or structure
        reference, prediction = (
            union(found)
            if any(found := [boxes[value - 1] for value in self.labels[name]])
            else None
            for name, boxes in zip(names, self._boxes, strict=True)
        )
        return reference, prediction

    def pair(self, structure: str, *, margin_mm: float = 0, predicted_as: str = "") -> MaskPair:
        """Masks of a structure in the box around both, and a margin where the image has one.

        Parameters
        ----------
        structure
            Structure in the reference.
        margin_mm
            Voxels up to this distance from the structure are in the box as well.
        predicted_as
            Structure in the segmentation, where it is another one.
        """
        x, y, z = (
            slice(max(side.start - margin, 0), min(side.stop + margin, size))
            for side, margin, size in zip(
                union(self.boxes(structure, predicted_as)),
                (math.ceil(margin_mm / spacing) for spacing in self.spacing_mm),
                self.reference.shape,
                strict=True,
            )
        )
        return MaskPair(
            mask_of(self.reference[x, y, z], self.labels[structure]),
            mask_of(self.prediction[x, y, z], self.labels[predicted_as or structure]),
            self.spacing_mm,
            (x, y, z),
        )

    @cached_property
    def _boxes(self) -> tuple[list[Box | None], list[Box | None]]:
        largest = max(max(values) for values in self.labels.values())
        reference, prediction = (
            bounding_boxes(array, largest) for array in (self.reference, self.prediction)
        )
        return reference, prediction
