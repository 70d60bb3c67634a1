"""Voxel size, crop and batch: how much of a patient a step sees, and how finely."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossfold.config.planning import BudgetConfig
from crossfold.data.planning.cost import (
    FIXED_SECONDS,
    STEP_SECONDS,
    Network,
    operations_per_step,
    training_bytes,
)
from crossfold.data.planning.fingerprint import Fingerprint, Grid, Vector
from crossfold.data.topology import ANISOTROPY, Triple, plan_topology

# Features of the first level, and the most of any (as in nnU-Net).
NARROWEST, WIDEST_LEVEL = 16, 256
# A training that is known to be balanced: this many steps of two crops of this many voxels.
REFERENCE_STEPS, REFERENCE_VOXELS = 1500, 2 * 32 * 48 * 32
# Beyond so many, time makes crops and networks larger instead.
MOST_STEPS = 4000
# Fewest voxels of a batch.
FEWEST_VOXELS = 16_384
# What a crop is to show: the structures with half of their extent again around them.
SURROUNDED = 1.5
# Share of that which is enough.
COVERED = 0.7
# Dice that a structure has to keep on a coarser grid.
KEPT_DICE = 0.95
# Levels go on down while a halved axis keeps this many voxels.
LOWEST_AXIS = 4
LEAST_LEVELS, MOST_LEVELS = 2, 6
HALF_RESOLUTION = 0.4
CROPS = 2
# A batch gets more than two crops where they are smaller than this.
SMALL_CROP = 8192
MOST_CROPS = 16
# What is left of a crop that does not fit into the memory.
SHRUNK = 0.9


def step_voxels(budget: BudgetConfig, *, images: int, classes: int) -> int:
    """Return the voxels of a step, of a network of the narrowest width on cubes.

    Time is shared between the steps of a training and the voxels of a step: either grows with its
    square root, from a training that is known to be balanced, until there are enough steps.
    """
    cube = Network.on((1, 1, 1), (48, 48, 48), channels_of(4), images=images, classes=classes)
    per_voxel = operations_per_step(cube, (48, 48, 48), 1, HALF_RESOLUTION) / 48**3
    seconds = per_voxel * 60 * budget.minutes / budget.operations
    available = max(60 * budget.minutes - FIXED_SECONDS, 30 * budget.minutes)
    balanced = REFERENCE_STEPS * (REFERENCE_VOXELS * seconds + STEP_SECONDS)
    steps = min(MOST_STEPS, REFERENCE_STEPS * math.sqrt(available / balanced))
    voxels = (available / steps - STEP_SECONDS) / seconds
    return int(max(FEWEST_VOXELS, voxels))


def voxels_in_memory(budget: BudgetConfig, *, images: int, classes: int) -> int:
    """Return the voxels of a step whose activations fit into the memory."""
    cube = Network.on((1, 1, 1), (48, 48, 48), channels_of(4), images=images, classes=classes)
    fixed = training_bytes(cube, (1, 1, 1), 0)
    per_voxel = (training_bytes(cube, (48, 48, 48), 1) - fixed) / 48**3
    return int((budget.memory_bytes - fixed) / per_voxel)


def channels_of(levels: int, width: int = NARROWEST) -> tuple[int, ...]:
    """Return the features of each level, doubled on the way down.

    Examples
    --------
    >>> channels_of(6)
    (16, 32, 64, 128, 256, 256)
    """
    return tuple(min(WIDEST_LEVEL, width * 2**level) for level in range(levels))


def context_mm(fingerprint: Fingerprint) -> Vector:
    """Return what a crop should show: the structures with what is around them, in the image."""
    x, y, z = (
        min(image, SURROUNDED * structures) if structures else image
        for image, structures in zip(fingerprint.extent_mm, fingerprint.foreground_mm, strict=True)
    )
    return x, y, z


def choose_grid(fingerprint: Fingerprint, crop_voxels: int) -> tuple[Grid, str]:
    """Choose the finest voxel size on which a crop shows enough, and say why."""
    wanted = math.prod(context_mm(fingerprint))
    first = fingerprint.grids[0]
    allowed = [first, *(g for g in fingerprint.grids[1:] if g.worst >= KEPT_DICE)]
    for grid in allowed:
        shown = crop_voxels * math.prod(grid.spacing_mm) / wanted
        if shown >= COVERED:
            break
    if grid is first:
        return grid, "the median of the training subjects: a crop shows enough at full resolution"
    kept = f"on it, structures keep a Dice of {grid.worst:.3f} at the worst"
    if shown < COVERED:
        return grid, (
            f"the coarsest that keeps a Dice of {KEPT_DICE}: {kept}; a crop that the budget "
            f"allows shows {shown:.0%} of the structures and their surroundings"
        )
    return grid, (
        f"the finest on which a crop that the budget allows shows {COVERED:.0%} of the "
        f"structures and their surroundings; {kept}"
    )


def kept_axes(fingerprint: Fingerprint, spacing_mm: Vector) -> list[float | None]:
    """Return the voxel size to resample to, None along long axes that are kept as they are."""
    lowest, highest = fingerprint.spacing_range_mm
    spacing: list[float | None] = []
    for axis, size in enumerate(spacing_mm):
        is_long = size > ANISOTROPY * min(spacing_mm)
        is_own = size == fingerprint.spacing_mm[axis]
        varies = lowest[axis] != highest[axis]
        similar = highest[axis] <= ANISOTROPY * lowest[axis]
        spacing.append(None if is_long and is_own and varies and similar else size)
    return spacing


def choose_patch(
    shape: Sequence[int], spacing_mm: Sequence[float], voxels: int
) -> tuple[Triple, int]:
    """Choose the crop, for the deepest network whose lowest level it leaves some voxels.

    Parameters
    ----------
    shape
        Median image on the training grid.
    spacing_mm
        Its voxel size.
    voxels
        The most that a crop may have.

    Returns
    -------
    patch, levels
        Every side is a multiple of what a network of so many levels needs.
    """
    for levels in range(MOST_LEVELS, LEAST_LEVELS, -1):
        patch = _cut(shape, spacing_mm, levels, voxels)
        if math.prod(patch) <= voxels and choose_levels(patch, spacing_mm) >= levels:
            return patch, levels
    return _cut(shape, spacing_mm, LEAST_LEVELS, voxels), LEAST_LEVELS


def _cut(shape: Sequence[int], spacing_mm: Sequence[float], levels: int, voxels: int) -> Triple:
    """Return the crop nearest to the image, its longest sides (in mm) cut until it is affordable.

    A smaller crop may be halved less often, never more often, so sides stay multiples.
    """
    patch = list(shape)
    multiple = _multiple(levels, spacing_mm, patch)
    while True:
        # Half a multiple rounds down: padding is computed, and shows nothing.
        patch = [m * max(1, math.ceil(p / m - 0.5)) for p, m in zip(patch, multiple, strict=True)]
        rounded, multiple = multiple, _multiple(levels, spacing_mm, patch)
        if multiple != rounded:
            continue
        sides = [p * s if p > m else 0 for p, s, m in zip(patch, spacing_mm, multiple, strict=True)]
        if math.prod(patch) <= voxels or not any(sides):
            return patch[0], patch[1], patch[2]
        longest = sides.index(max(sides))
        patch[longest] -= multiple[longest]
        multiple = _multiple(levels, spacing_mm, patch)


def _multiple(levels: int, spacing_mm: Sequence[float], patch: Sequence[int]) -> list[int]:
    """Multiple of voxels that a network of so many levels needs of a crop."""
    _, strides = plan_topology(levels, spacing_mm, patch)
    return [math.prod(step[axis] for step in strides) for axis in range(3)]


def choose_levels(patch: Sequence[int], spacing_mm: Sequence[float]) -> int:
    """Return how often the finest axes of a crop can be halved, and one more."""
    halved = [
        size
        for size, mm in zip(patch, spacing_mm, strict=True)
        if mm <= ANISOTROPY * min(spacing_mm) and size >= 2 * LOWEST_AXIS
    ]
    if not halved:
        return LEAST_LEVELS
    return max(LEAST_LEVELS, min(MOST_LEVELS, 1 + int(math.log2(min(halved) / LOWEST_AXIS))))


def choose_batch(crop_voxels: int) -> int:
    """Return the number of crops per step: two, or more where they are tiny."""
    return max(CROPS, min(MOST_CROPS, CROPS * SMALL_CROP // crop_voxels))
