"""Augmentation: the fewer the subjects, the stronger, and of a kind that the images could show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from crossfold.data.planning.fingerprint import Fingerprint
from crossfold.data.planning.sides import side_pairs
from crossfold.data.topology import ANISOTROPY

# Subjects per fold from which on augmentation is weakest, and up to which it is strongest.
MANY, FEW = 120, 30
# Overlap with their mirror images from which on structures count as symmetric.
SYMMETRIC = 0.7
ROTATION_DEG = 7.0

Value = tuple[str, Any, str]


def strength(subjects: int) -> float:
    """Return how strong augmentation is, from 0 to 1, by the logarithm of the subjects.

    Examples
    --------
    >>> strength(20), strength(60), strength(500)
    (1.0, 0.5, 0.0)
    """
    share = math.log(MANY / max(subjects, 1)) / math.log(MANY / FEW)
    return round(min(1.0, max(0.0, share)), 2)


def mirror_axes(fingerprint: Fingerprint, structures: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Say whether left and right may change places, and why."""
    pairs, single = side_pairs(structures)
    if single:
        return (), f"{single[0]} is of one side: its mirror image is another structure"
    if pairs:
        return ("x",), f"{pairs[0][0]} and {pairs[0][1]} change names in the mirror"
    found = [fingerprint.structures[name] for name in structures]
    mirrored = [structure.mirrored for structure in found if structure.present]
    overlap = statistics.median(mirrored) if mirrored else 0.0
    about = f"structures overlap with their mirror images by a Dice of {overlap:.2f}"
    if overlap < SYMMETRIC:
        return (), f"{about}, below {SYMMETRIC}: they are not symmetric"
    return ("x",), f"{about}: they are symmetric"


def augmentation(
    fingerprint: Fingerprint,
    structures: Sequence[str],
    *,
    spacing_mm: Sequence[float],
    in_range: bool,
) -> Iterator[Value]:
    """Yield keys of `training.augmentation`, their values and reasons.

    Parameters
    ----------
    fingerprint, structures
        Of the data.
    spacing_mm
        Voxel size of the training grid.
    in_range
        Whether intensities are fixed units scaled to [0, 1] (CT), whose scale hardly varies.
    """
    much = strength(fingerprint.per_fold)
    because = f"strength {much:g} of 0 to 1, as a fold trains on {fingerprint.per_fold} subjects"
    axes, why = mirror_axes(fingerprint, structures)
    yield "mirror_axes", [*axes], why
    if fingerprint.side_pairs:
        names = "; ".join(f"{left} and {right}" for left, right in fingerprint.side_pairs)
        pairs = [[*pair] for pair in fingerprint.side_pairs]
        yield "mirror_pairs", pairs, f"named as left and right: {names}"
    yield "affine_probability", round(0.5 + 0.5 * much, 2), because
    yield "rotation_deg", *_rotation(spacing_mm)
    yield "scaling", round(0.1 + 0.02 * much, 3), because
    yield "aspect", round(0.05 * much, 3), because
    elastic = round(1.5 * min(spacing_mm) * much, 2)
    yield "elastic_mm", elastic, f"one and a half voxels at full strength; {because}"
    if in_range:
        unit = "CT numbers vary little between scanners"
        yield "gain", 0.1, unit
        yield "offset", 0.05, unit
        yield "noise", round(0.05 * much, 3), because
        return
    yield "gain", round(0.15 + 0.05 * much, 3), because
    yield "offset", round(0.1 + 0.1 * much, 3), because
    yield "gamma", round(0.25 * much, 3), because
    yield "bias_field", round(0.15 * much, 3), f"coils of MR; {because}"
    yield "noise", round(0.2 * much, 3), because


def _rotation(spacing_mm: Sequence[float]) -> tuple[list[float], str]:
    """Rotate about every axis, or where voxels are long along one, about that one alone."""
    long = [size > ANISOTROPY * min(spacing_mm) for size in spacing_mm]
    if not any(long):
        return [ROTATION_DEG] * 3, "voxels are about as long as wide: about every axis"
    return [ROTATION_DEG if axis else 0.0 for axis in long], (
        f"voxels are longer than {ANISOTROPY} times their width: within slices alone"
    )
