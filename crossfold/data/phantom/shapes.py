"""Smooth implicit shapes in space, and a canvas that paints them as tissue.

Every shape is a function of points that returns an approximate signed distance in mm, negative
inside, so that its edge can be rendered with partial volume instead of as a staircase.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float32]


def random_stream(*key: int | str) -> np.random.Generator:
    """An independent generator for every key, so that one organ's draws never move another's."""
    return np.random.default_rng(
        [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in key]
    )


@dataclass
class Canvas:
    """CT numbers and labels on a grid, painted from the skin inwards.

    Parameters
    ----------
    points
        (3, x, y, z): where each voxel lies in the standard pelvis, in mm.
    edge_mm
        Width over which an edge is blended, about one voxel.
    """

    points: Field
    edge_mm: float
    ct: Field = field(init=False)
    labels: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.ct = np.full(self.points.shape[1:], -1000, dtype=np.float32)
        self.labels = np.zeros(self.points.shape[1:], dtype=np.uint8)

    @property
    def mirrored(self) -> Field:
        """The points folded onto the right side, to paint both sides at once."""
        return np.concatenate([np.abs(self.points[:1]), self.points[1:]])

    def paint(
        self, distance: Field, hounsfield: float | NDArray, label: ArrayLike | None = None
    ) -> None:
        """Blend a tissue over what is there; without a label the labels stay as they are."""
        occupancy = np.clip(0.5 - distance / self.edge_mm, 0, 1)
        self.ct += occupancy * (hounsfield - self.ct)
        if label is not None:
            np.copyto(self.labels, np.asarray(label, np.uint8), where=distance < 0)

    def paint_bone(
        self, distance: Field, spongy: float | NDArray, label: ArrayLike | None = None
    ) -> None:
        """Paint a bone: a dense cortex of about 4 mm around spongy bone or marrow."""
        cortex = np.clip((distance + 5) / 3, 0, 1)
        self.paint(distance, spongy + cortex * (900 - spongy), label)


def ellipsoid(
    points: Field, centre: ArrayLike, radii: ArrayLike, axes: ArrayLike | None = None
) -> Field:
    """Distance to first order to an ellipsoid whose axes are the rows of `axes`."""
    offset = from_centre(points, centre)
    if axes is not None:
        offset = turned(offset, axes)
    radii = np.asarray(radii, np.float32).reshape(3, 1, 1, 1)
    scaled = np.sqrt(np.sum((offset / radii) ** 2, axis=0))
    slope = np.sqrt(np.sum((offset / radii**2) ** 2, axis=0))
    return scaled * (scaled - 1) / np.maximum(slope, 1e-6)


def tube(points: Field, nodes: ArrayLike, radii: Sequence[float]) -> Field:
    """Distance to a chain of cones with rounded joints through `nodes`, (node, 3)."""
    nodes = np.asarray(nodes, np.float32)
    distance = np.full(points.shape[1:], np.inf, np.float32)
    for start, end, radius, next_radius in zip(nodes, nodes[1:], radii, radii[1:], strict=False):
        offset, axis = from_centre(points, start), end - start
        along = np.clip(along_direction(offset, axis) / (axis @ axis), 0, 1)
        across = np.sqrt(np.sum((offset - along * axis.reshape(3, 1, 1, 1)) ** 2, axis=0))
        distance = np.minimum(distance, across - radius - along * (next_radius - radius))
    return distance


def blend(first: Field, second: Field, width_mm: float) -> Field:
    """Union of two shapes with a fillet of about `width_mm` (polynomial smooth minimum)."""
    overlap = np.maximum(width_mm - np.abs(first - second), 0) / width_mm
    return np.minimum(first, second) - overlap**2 * width_mm / 4


def waves(
    points: Field, random: np.random.Generator, *, amplitude: float, wavelength_mm: float
) -> Field:
    """A smooth random field of standard deviation `amplitude`: six plane waves."""
    directions = random.normal(size=(6, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = wavelength_mm * random.uniform(0.7, 1.4, size=(6, 1))
    phases = random.uniform(0, 2 * np.pi, size=6).astype(np.float32)
    total = np.zeros(points.shape[1:], np.float32)
    for direction, phase in zip(2 * np.pi * directions / lengths, phases, strict=True):
        total += np.sin(along_direction(points, direction) + phase)
    return np.float32(amplitude / np.sqrt(3)) * total


def along_direction(points: Field, direction: ArrayLike) -> Field:
    """Scalar product of every point with a direction (several times faster than a tensordot)."""
    x, y, z = np.asarray(direction, np.float32)
    return x * points[0] + y * points[1] + z * points[2]


def turned(points: Field, axes: ArrayLike) -> Field:
    """Coordinates of the points along three axes, given as rows."""
    return np.stack([along_direction(points, axis) for axis in np.asarray(axes)])


def stretched(points: Field, factors: ArrayLike) -> Field:
    """The points with every coordinate multiplied by its factor."""
    return points * np.asarray(factors, np.float32).reshape(3, 1, 1, 1)


def from_centre(points: Field, centre: ArrayLike) -> Field:
    """Offsets of the points from a centre."""
    return points - np.asarray(centre, np.float32).reshape(3, 1, 1, 1)
