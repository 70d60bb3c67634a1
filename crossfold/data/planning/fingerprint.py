"""What the training subjects of a dataset are like: all that `plan: auto` knows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.data.dataset import Dataset
from crossfold.data.planning.sides import side_pairs, words_of
from crossfold.data.resampling import resample, resampled_shape
from crossfold.images import ras_geometry, read_header
from crossfold.parallel import map_subjects

# Subjects whose voxels are read, evenly chosen; the headers of all are.
MEASURED_SUBJECTS = 40
# Of these, subjects whose contours are resampled to coarser grids; it takes the longest.
RESAMPLED_SUBJECTS = 8
# Widest part of a structure, in voxels along each axis, that is resampled.
RESAMPLED_VOXELS = 96
# Grids are tried until a structure keeps less than this of itself on them.
WORST_GRID_DICE = 0.5
# Values per decade that a voxel size may have.
_STEPS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
_COARSEST = 8.0
# A structure is in one piece if its largest part has this share of its voxels.
_ONE_PIECE = 0.99
# An image whose darkest voxels are far below zero has Hounsfield units.
_AIR_HU = -500
_PERCENTILES = (0.5, 99.5)

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Channel:
    """Intensities of an image channel, over subjects."""

    hounsfield: bool
    """Whether they are CT numbers: it is called so, or has values as low as only air has."""
    structure_range: tuple[float, float]
    """Lowest and highest of the medians of structures, each in the median subject."""
    cut: float
    """Largest share of a structure, in the median subject, above the 99.5th percentile."""
    scale_ratio: float
    """Largest to smallest 99.5th percentile of subjects: how far their scales differ."""


@dataclass(frozen=True)
class Structure:
    """A structure, or a union of structures, over the subjects that have it."""

    present: float
    """Share of the subjects that have it."""
    volume_ml: float
    """Median volume."""
    share: float
    """Median share of the image's voxels."""
    extent_mm: Vector
    """Median extent along right, anterior, superior."""
    one_piece: float
    """Share of the subjects in which it is connected, but for one per cent."""
    mirrored: float
    """Median Dice with its mirror image, or with that of its counterpart on the other side."""


@dataclass(frozen=True)
class Grid:
    """A voxel size, and what a perfect network could reach on it."""

    spacing_mm: Vector
    dice: dict[str, float]
    """Median Dice of a structure with itself after it was on that grid."""

    @property
    def worst(self) -> float:
        """That of the structure that loses most."""
        return min(self.dice.values(), default=1.0)


@dataclass(frozen=True)
class Fingerprint:
    """What the training subjects are like; axes are those of the patient, after reorientation."""

    subjects: int
    """All of them; nobody of the test set."""
    per_fold: int
    """Those that the smallest fold trains on."""
    shape: Vector
    """Median number of voxels."""
    spacing_mm: Vector
    """Median voxel size."""
    spacing_range_mm: tuple[Vector, Vector]
    """Smallest and largest voxel size."""
    extent_mm: Vector
    """Median extent of an image."""
    largest_mm: Vector
    """Largest extent of an image along each axis."""
    channels: dict[str, Channel]
    """Intensities."""
    structures: dict[str, Structure]
    """Structures, and unions that are measured as well."""
    foreground_mm: Vector
    """Extent of the box around all structures that fill less than a fifth of the image, which
    nine of ten subjects do not exceed."""
    grids: tuple[Grid, ...]
    """Voxel sizes from the median one to the coarsest of use."""
    side_pairs: tuple[tuple[str, str], ...]
    """Structures that are named as the left and the right one of a pair."""


SURROUNDINGS = 0.2
"""Share of the image from which on a structure is its surroundings, such as the whole body."""


def measure_fingerprint(
    dataset: Dataset,
    subjects: Sequence[str],
    *,
    per_fold: int,
    images: Sequence[str],
    structures: Sequence[str],
    derived_structures: Mapping[str, Sequence[str]],
    workers: int = 1,
) -> Fingerprint:
    """Measure the training subjects.

    Parameters
    ----------
    dataset
        Where to read from.
    subjects
        Training and validation subjects; nobody of the test set.
    per_fold
        Subjects that the smallest fold trains on.
    images, structures, derived_structures
        Of the model.
    workers
        Number of processes.
    """
    headers = [ras_geometry(read_header(dataset.path(s, images[0]))) for s in subjects]
    shapes = np.array([shape for shape, _ in headers], dtype=float)
    spacings = np.array([spacing for _, spacing in headers]).round(4)
    median_mm = np.median(spacings, axis=0)
    candidates = candidate_spacings(_vector(median_mm))
    measured = _evenly(subjects, MEASURED_SUBJECTS)
    resampled = set(_evenly(measured, RESAMPLED_SUBJECTS))
    measure = partial(
        _measure_subject,
        dataset=dataset,
        images=tuple(images),
        structures=tuple(structures),
        derived_structures={name: tuple(parts) for name, parts in derived_structures.items()},
        candidates=candidates,
        resampled=resampled,
    )
    found = map_subjects(measure, measured, workers=workers, title="fingerprint")
    pairs, _ = side_pairs(structures)
    return Fingerprint(
        subjects=len(subjects),
        per_fold=per_fold,
        shape=_vector(np.median(shapes, axis=0)),
        spacing_mm=_vector(median_mm),
        spacing_range_mm=(_vector(spacings.min(axis=0)), _vector(spacings.max(axis=0))),
        extent_mm=_vector(np.median(shapes * spacings, axis=0)),
        largest_mm=_vector((shapes * spacings).max(axis=0)),
        channels={
            name: _channel(name, [one["channels"][name] for one in found]) for name in images
        },
        structures={
            name: _structure([one["structures"].get(name) for one in found])
            for name in (*structures, *derived_structures)
        },
        foreground_mm=_vector(
            np.percentile([one["foreground_mm"] for one in found], 90, axis=0, method="higher")
        ),
        grids=_grids(candidates, [one["grids"] for one in found if one["grids"]]),
        side_pairs=pairs,
    )


def candidate_spacings(median_mm: Vector) -> list[Vector]:
    """Return voxel sizes from the median one on, the finest axes becoming coarser first.

    Examples
    --------
    >>> candidate_spacings((0.625, 0.625, 3.6))[:3]
    [(0.625, 0.625, 3.6), (0.8, 0.8, 3.6), (1.0, 1.0, 3.6)]
    """
    finest = min(median_mm)
    decade = 10.0 ** np.floor(np.log10(finest))
    sizes = [round(float(decade) * ten * step, 6) for ten in (1, 10) for step in _STEPS]
    return [
        median_mm,
        *(
            (max(median_mm[0], size), max(median_mm[1], size), max(median_mm[2], size))
            for size in sizes
            if finest * 1.2 <= size <= finest * _COARSEST
        ),
    ]


def _evenly(subjects: Sequence[str], count: int) -> list[str]:
    """Choose up to so many subjects, evenly over their order."""
    if len(subjects) <= count:
        return list(subjects)
    return [subjects[round(i * (len(subjects) - 1) / (count - 1))] for i in range(count)]


def _vector(values: Sequence[float] | NDArray) -> Vector:
    x, y, z = (round(float(value), 4) for value in values)
    return x, y, z


def _measure_subject(
    subject: str,
    *,
    dataset: Dataset,
    images: tuple[str, ...],
    structures: tuple[str, ...],
    derived_structures: Mapping[str, tuple[str, ...]],
    candidates: Sequence[Vector],
    resampled: set[str],
) -> dict[str, Any]:
    """Measure one subject."""
    labels = dataset.label_map(subject, structures).to_ras()
    values = {name: (index + 1,) for index, name in enumerate(structures)}
    unions = {
        name: tuple(values[part][0] for part in parts) for name, parts in derived_structures.items()
    }
    pairs, _ = side_pairs(structures)
    other = dict(pairs) | {right: left for left, right in pairs}
    boxes = ndimage.find_objects(labels.array, max_label=len(structures))
    spacing = np.array(labels.spacing_mm)
    found: dict[str, Any] = {}
    around: dict[str, tuple[slice, ...]] = {}
    for name, labels_of in (values | unions).items():
        present = [boxes[value - 1] for value in labels_of if boxes[value - 1] is not None]
        if not present:
            continue
        box = _hull(present)
        mask = np.isin(labels.array[box], labels_of)
        twin = values[other[name]] if name in other else labels_of
        found[name] = {
            "volume_ml": float(mask.sum() * spacing.prod() / 1000),
            "share": float(mask.sum() / labels.array.size),
            "extent_mm": spacing * mask.shape,
            "one_piece": _in_one_piece(mask),
            "mirrored": _mirror_dice(labels.array, labels_of, twin),
        }
        if name in values and found[name]["share"] < SURROUNDINGS:
            around[name] = box
    around = around or {name: boxes[values[name][0] - 1] for name in structures if name in found}
    hull = _hull([*around.values()]) if around else (slice(0, 0),) * 3
    # The intensities that matter are those of structures, not of what surrounds them.
    kept = [values[name][0] for name in around]
    targets = np.where(np.isin(labels.array, kept), labels.array, 0)
    grids = {}
    if subject in resampled:
        grids = {
            name: _grid_dice(labels.array, values[name][0], boxes, labels.spacing_mm, candidates)
            for name in structures
            if name in found
        }
    return {
        "structures": found,
        "foreground_mm": spacing * [part.stop - part.start for part in hull],
        "channels": {
            name: _measure_channel(dataset.image(subject, name).to_ras().array, targets)
            for name in images
        },
        "grids": grids,
    }


def _hull(boxes: Sequence[tuple[slice, ...]]) -> tuple[slice, ...]:
    """Box around boxes."""
    return tuple(
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(3)
    )


def _in_one_piece(mask: NDArray[np.bool_]) -> bool:
    parts, count = ndimage.label(mask)
    return count == 1 or np.bincount(parts.ravel())[1:].max() >= _ONE_PIECE * mask.sum()


def _mirror_dice(labels: NDArray, values: tuple[int, ...], twin: tuple[int, ...]) -> float:
    """Dice of a structure with the mirror image of its twin, in the box around both."""
    both = np.isin(labels, (*values, *twin))
    box = ndimage.find_objects(both.astype(np.uint8))[0]
    part = labels[box]
    one, mirrored = np.isin(part, values), np.isin(part[::-1], twin)
    return float(2 * (one & mirrored).sum() / (one.sum() + mirrored.sum()))


def _grid_dice(
    labels: NDArray,
    value: int,
    boxes: Sequence[tuple[slice, ...] | None],
    spacing_mm: Sequence[float],
    candidates: Sequence[Vector],
) -> list[float]:
    """Dice of a structure with itself, brought to each grid and back; 0 once it is hopeless."""
    mask = np.pad(_part_of(labels[boxes[value - 1]] == value), 4).astype(np.float32)
    scores = []
    for spacing in candidates:
        coarse = resample(mask, resampled_shape(mask.shape, spacing_mm, spacing))
        back = ndimage.zoom(
            coarse,
            np.array(mask.shape) / coarse.shape,
            order=1,
            mode="nearest",
            grid_mode=True,
        )
        kept = back > 0.5
        scores.append(float(2 * (kept & (mask > 0)).sum() / max(1, kept.sum() + mask.sum())))
        if scores[-1] < WORST_GRID_DICE:
            break
    return scores + [0.0] * (len(candidates) - len(scores))


def _part_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a part around a voxel of a structure that is too wide to be resampled quickly."""
    inside = np.flatnonzero(mask)
    centre = np.unravel_index(inside[len(inside) // 2], mask.shape)
    starts = [max(0, int(c) - RESAMPLED_VOXELS // 2) for c in centre]
    return mask[tuple(slice(start, start + RESAMPLED_VOXELS) for start in starts)]


def _measure_channel(array: NDArray, labels: NDArray) -> dict[str, Any]:
    low, high = np.percentile(array, _PERCENTILES)
    voxels, values = array[labels > 0], labels[labels > 0]
    inside = {int(value): voxels[values == value] for value in np.unique(values)}
    return {
        "low": float(low),
        "high": float(high),
        "medians": {value: float(np.median(own)) for value, own in inside.items()},
        "cut": max((float((own > high).mean()) for own in inside.values()), default=0.0),
    }


def _channel(name: str, found: Sequence[Mapping[str, Any]]) -> Channel:
    values = {value for one in found for value in one["medians"]}
    medians = [
        float(np.median([one["medians"][value] for one in found if value in one["medians"]]))
        for value in values
    ]
    tops = [max(one["high"], 1e-8) for one in found]
    return Channel(
        hounsfield="ct" in words_of(name)
        or bool(np.median([one["low"] for one in found]) <= _AIR_HU),
        structure_range=(round(min(medians, default=0), 2), round(max(medians, default=0), 2)),
        cut=round(float(np.median([one["cut"] for one in found])), 4),
        scale_ratio=round(max(tops) / min(tops), 2),
    )


def _structure(found: Sequence[Mapping[str, Any] | None]) -> Structure:
    present = [one for one in found if one is not None]
    if not present:
        return Structure(0.0, 0.0, 0.0, (0.0, 0.0, 0.0), 0.0, 0.0)

    def median(key: str) -> float:
        return float(f"{np.median([one[key] for one in present]):.4g}")

    return Structure(
        present=round(len(present) / len(found), 3),
        volume_ml=median("volume_ml"),
        share=median("share"),
        extent_mm=_vector(np.median([one["extent_mm"] for one in present], axis=0)),
        one_piece=round(float(np.mean([one["one_piece"] for one in present])), 3),
        mirrored=median("mirrored"),
    )


def _grids(
    candidates: Sequence[Vector], found: Sequence[Mapping[str, list[float]]]
) -> tuple[Grid, ...]:
    """Medians over subjects, as far as a structure keeps anything of itself."""
    names = dict.fromkeys(name for one in found for name in one)
    grids = []
    for index, spacing in enumerate(candidates):
        dice = {
            name: round(float(np.median([one[name][index] for one in found if name in one])), 4)
            for name in names
        }
        if index and min(dice.values(), default=0.0) < WORST_GRID_DICE:
            break
        grids.append(Grid(spacing, dice))
    return tuple(grids)
