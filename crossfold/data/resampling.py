"""Changing the voxel size of an image without moving its edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def resampled_shape(
    shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]
) -> tuple[int, ...]:
    """Return the number of voxels along each axis at another voxel size, at least one."""
    extents = zip(shape, spacing_mm, target_mm, strict=True)
    return tuple(max(1, round(size * own / target)) for size, own, target in extents)


def resample(array: NDArray, shape: Sequence[int]) -> NDArray[np.float32]:
    """Resample linearly to another shape over the same extent.

    An axis that loses voxels is smoothed first, so that fine texture does not alias.

    Parameters
    ----------
    array
        (x, y, z).
    shape
        Number of voxels of the result along x, y, z.

    Returns
    -------
    numpy.ndarray
        float32 of that shape.
    """
    array = np.asarray(array, dtype=np.float32)
    if tuple(shape) == array.shape:
        return array
    factors = np.array(array.shape) / np.array(shape)
    sigma = np.maximum(0, (factors - 1) / 2)
    smooth = ndimage.gaussian_filter(array, sigma, mode="nearest", truncate=3.0)
    return ndimage.zoom(smooth, 1 / factors, order=1, mode="nearest", grid_mode=True)


def resample_labels(labels: NDArray, shape: Sequence[int], count: int) -> NDArray[np.uint8]:
    """Resample a label map by resampling each structure and taking the strongest.

    Parameters
    ----------
    labels
        Integer map (x, y, z) with values 0 to `count`.
    shape
        Number of voxels of the result along x, y, z.
    count
        Number of structures.

    Returns
    -------
    numpy.ndarray
        uint8 map of that shape.
    """
    if tuple(shape) == labels.shape:
        return labels.astype(np.uint8)
    result = np.zeros(shape, dtype=np.uint8)
    strongest = np.ones(shape, dtype=np.float32)
    occupancies = []
    for value in range(1, count + 1):
        occupancy = resample(labels == value, shape)
        strongest -= occupancy
        occupancies.append(occupancy)
    for value, occupancy in enumerate(occupancies, start=1):
        stronger = occupancy > strongest
        result[stronger] = value
        strongest[stronger] = occupancy[stronger]
    return result
