"""Between masks and polygons in one slice; both in pixels, whose centres have whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Polygon = NDArray[np.float64]


def fill(polygons: Iterable[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres lie inside an odd number of polygons.

    So a polygon within another is a hole, and a channel of no width that joins a hole to its
    outline ("keyhole") leaves no trace. Parts outside the slice are cut off.

    Parameters
    ----------
    polygons
        Vertices, n x 2 (column, row); the last is joined to the first.
    shape
        Number of columns and of rows.

    Returns
    -------
    numpy.ndarray
        Boolean (column, row).
    """
    columns, rows = shape
    crossings = np.zeros((columns + 1, rows), dtype=bool)
    for polygon in polygons:
        edges = np.stack([polygon, np.roll(polygon, -1, axis=0)], axis=1)
        # Both directions of a channel have to cross each row at the very same place.
        upwards = edges[:, 0, 1] > edges[:, 1, 1]
        edges[upwards] = edges[upwards, ::-1]
        (x_start, y_start), (x_end, y_end) = edges[:, 0].T, edges[:, 1].T
        first, stop = (np.clip(np.ceil(y), 0, rows).astype(int) for y in (y_start, y_end))
        counts = stop - first
        edge = np.repeat(np.arange(len(edges)), counts)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        slope = (x_end - x_start)[edge] / (y_end - y_start)[edge]
        x = x_start[edge] + (row - y_start[edge]) * slope
        column = np.clip(np.ceil(x), 0, columns).astype(int)
        np.logical_xor.at(crossings, (column, row), True)
    return np.logical_xor.accumulate(crossings, axis=0)[:-1]


def outline(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Return polygons around the pixels of a mask, one for each part, holes joined as keyholes.

    They run halfway between pixels inside and outside, so that `fill` gives the mask back.

    Parameters
    ----------
    mask
        Boolean (column, row).
    """
    from contourpy import FillType, contour_generator

    framed = np.pad(mask, 1).T.astype(np.float64)
    tracer = contour_generator(z=framed, fill_type=FillType.OuterOffset)
    polygons = []
    for points, offsets in zip(*tracer.filled(0.5, 1.5), strict=True):
        rings = [points[start : stop - 1] - 1 for start, stop in pairwise(offsets)]
        outer, *holes = (_corners(ring) for ring in rings)
        polygons.append(_keyhole(outer, holes))
    return polygons


def _corners(ring: Polygon) -> Polygon:
    """Leave out the vertices on straight runs."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _keyhole(outer: Polygon, holes: list[Polygon]) -> Polygon:
    """Join holes to the outline by channels of no width, the nearest first."""
    for hole in sorted(holes, key=lambda ring: cdist(outer, ring).min()):
        i, j = divmod(int(cdist(outer, hole).argmin()), len(hole))
        outer = np.concatenate([outer[: i + 1], hole[j:], hole[: j + 1], outer[i:]])
    return outer
