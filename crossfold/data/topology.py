"""Kernels and strides of a U-Net for voxels that are not cubes."""

from __future__ import annotations

import math
from collections.abc import Sequence

# A voxel is called anisotropic where one side is longer than this many times its shortest side.
ANISOTROPY = 1.5
# Fewest voxels of a patch along an axis at the lowest level.
SMALLEST_AXIS = 3

Triple = tuple[int, int, int]


def plan_topology(
    levels: int, spacing_mm: Sequence[float], patch_size: Sequence[int]
) -> tuple[list[Triple], list[Triple]]:
    """Choose kernels and strides so that voxels become isotropic on the way down.

    Parameters
    ----------
    levels
        Number of levels of the network.
    spacing_mm
        Voxel size of the training grid.
    patch_size
        Training patch in voxels: no axis falls below three voxels at the lowest level.

    Returns
    -------
    kernel_sizes, strides
        One kernel per level, one stride between levels.
    """
    spacing, patch = list(spacing_mm), list(patch_size)
    kernels: list[Triple] = []
    strides: list[Triple] = []
    for level in range(levels):
        fine = [size <= ANISOTROPY * min(spacing) for size in spacing]
        x, y, z = (3 if axis else 1 for axis in fine)
        kernels.append((x, y, z))
        if level == levels - 1:
            break
        steps = [
            2 if axis and math.ceil(size / 2) >= SMALLEST_AXIS else 1
            for axis, size in zip(fine, patch, strict=True)
        ]
        strides.append((steps[0], steps[1], steps[2]))
        spacing = [size * step for size, step in zip(spacing, steps, strict=True)]
        patch = [math.ceil(size / step) for size, step in zip(patch, steps, strict=True)]
    return kernels, strides
