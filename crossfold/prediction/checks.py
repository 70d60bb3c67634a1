"""Is an image like those that a model was trained on? Asked before anything is computed."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from crossfold.config.preprocessing import CtWindow, Unchanged
from crossfold.data.ranges import IntensityRange
from crossfold.errors import CrossfoldError
from crossfold.images import Image
from crossfold.prediction.bundle import Bundle

CHECKS = ("dimensions", "orientation", "grids", "spacing", "field_of_view", "voxels", "intensity")
"""Names of the checks, in the order in which they are done."""

ACCEPTABLE = ("grids", "spacing", "voxels", "intensity")
"""Those whose errors a user may accept: without the others there is nothing to compute with."""

AXES = ("right", "anterior", "superior")

# Voxels that are looked at for percentiles: more change nothing.
_MOST_VOXELS = 1_000_000
# No image has so few different values.
_FEW_VALUES = 4
# Between the smallest and the largest voxel of the training, and this far beyond them.
_SPACING_TOLERANCE = 1.25
# Farther beyond along one axis, or as far along all of them, the numbers have another unit.
_IMPOSSIBLE_SPACING, _ANOTHER_UNIT = 20.0, 6.0
_FIELD_OF_VIEW_TOLERANCE = 1.5
_OBLIQUE_DEG = 15.0
_AFFINE_TOLERANCE_MM = 1.0
_CT_OFFSET = 1024.0
# Of the width of the training's intensities.
_FAR, _NARROW = 0.25, 0.15


@dataclass(frozen=True)
class Finding:
    """What is odd about a subject.

    Parameters
    ----------
    severity
        An error refuses the subject, unless the check is accepted.
    check
        One of `CHECKS`.
    message, remedy
        What, and what to do about it.
    """

    severity: Literal["error", "warning"]
    check: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        """As it is printed."""
        return f"{self.check}: {self.message}"


@dataclass(frozen=True)
class Grid:
    """Shape and place of an image, as its header says.

    Parameters
    ----------
    shape
        Voxels along the axes of the file.
    affine
        4 x 4, voxel indices to mm.
    is_oriented
        Whether the file says which way its axes point.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    is_oriented: bool = True

    @classmethod
    def of(cls, image: nib.Nifti1Image | Image, *, volume: int | None = None) -> Grid:
        """Return the grid of a file, or of an image that was read."""
        if isinstance(image, Image):
            return cls(image.array.shape, image.affine)
        shape = tuple(image.shape)
        is_one = len(shape) == 4 and (volume is not None or shape[3] == 1)
        oriented = bool(image.header["qform_code"] or image.header["sform_code"])
        affine = np.asarray(image.affine, dtype=np.float64)
        return cls(shape[:3] if is_one else shape, affine, oriented)

    @property
    def along_patient(self) -> NDArray[np.intp]:
        """Axes of the file along right, anterior, superior."""
        return np.argsort(nib.io_orientation(self.affine)[:, 0])

    @property
    def ras_shape(self) -> tuple[int, ...]:
        """Voxels along right, anterior, superior."""
        return tuple(self.shape[axis] for axis in self.along_patient)

    @property
    def ras_spacing_mm(self) -> tuple[float, ...]:
        """Voxel size along right, anterior, superior."""
        spacing_mm = voxel_sizes(self.affine)
        return tuple(float(spacing_mm[axis]) for axis in self.along_patient)


def check_grids(grids: Mapping[str, Grid], bundle: Bundle) -> list[Finding]:
    """Check what the headers of a subject's channels say; voxels are not read.

    Parameters
    ----------
    grids
        By channel, the mask included.
    bundle
        The model, and what its training images were like.
    """
    findings = [finding for name, grid in grids.items() for finding in _readable(name, grid)]
    if any(finding.severity == "error" for finding in findings):
        return findings  # nothing can be compared
    first = grids[bundle.images[0]]
    findings += _agreeing(grids, bundle.images[0])
    findings += _spacing(first, bundle)
    findings += _field_of_view(first, bundle)
    return findings


def check_voxels(images: Mapping[str, Image], bundle: Bundle) -> list[Finding]:
    """Check the intensities of a subject's channels.

    Parameters
    ----------
    images
        By channel, without the mask.
    bundle
        As above.
    """
    findings: list[Finding] = []
    for channel, image in images.items():
        broken = list(_broken(channel, image.array))
        findings += broken or _intensities(channel, image.array, bundle)
    return findings


def refuse(findings: Sequence[Finding], accepted: Collection[str] = ()) -> None:
    """Raise all errors at once, except those of accepted checks.

    Raises
    ------
    CrossfoldError
        With what is wrong, and the first remedy.
    """
    errors = [f for f in findings if f.severity == "error" and f.check not in accepted]
    if errors:
        remedies = [f.remedy for f in errors if f.remedy]
        raise CrossfoldError("; ".join(map(str, errors)), remedy=remedies[0] if remedies else "")


def _readable(channel: str, grid: Grid) -> Iterator[Finding]:
    size = " x ".join(map(str, grid.shape))
    if len(grid.shape) == 4:
        yield Finding(
            "error",
            "dimensions",
            f"{channel} is 4-D ({size}): it holds {grid.shape[3]} volumes",
            "save the volume that is meant as a file of its own, or write a dataset.csv with a "
            "column `volume`",
        )
    elif len(grid.shape) != 3:
        yield Finding(
            "error",
            "dimensions",
            f"{channel} is {len(grid.shape)}-D ({size}), 3 dimensions are needed",
            "stack the slices to a volume",
        )
    elif min(grid.shape) < 1:
        yield Finding("error", "dimensions", f"{channel} has no voxel ({size})")
    elif 1 in grid.shape:
        yield Finding(
            "error",
            "dimensions",
            f"{channel} is 2-D ({size}): a slice or a voxel is no volume",
            "stack the slices to a volume",
        )
    if not np.isfinite(grid.affine).all() or abs(np.linalg.det(grid.affine[:3, :3])) < 1e-12:
        yield Finding(
            "error",
            "orientation",
            f"the affine of {channel} cannot be inverted: where its voxels lie is unknown",
            "convert the image again from its source",
        )
        return
    if not grid.is_oriented:
        yield Finding(
            "warning",
            "orientation",
            f"{channel} does not say which way its axes point (qform and sform are 0): it is taken "
            f"for {''.join(nib.aff2axcodes(grid.affine))}",
        )
    axes = grid.affine[:3, :3] / voxel_sizes(grid.affine)
    tilt_deg = float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0).min(), 0, 1))))
    if tilt_deg > _OBLIQUE_DEG:
        yield Finding(
            "warning",
            "orientation",
            f"the axes of {channel} are tilted by {tilt_deg:.0f} degrees against the patient's; "
            "the network sees them as they are",
        )
    if np.abs(axes.T @ axes - np.eye(3)).max() > 0.01:
        yield Finding(
            "warning", "orientation", f"the axes of {channel} are not at right angles (a shear)"
        )


def _agreeing(grids: Mapping[str, Grid], first: str) -> Iterator[Finding]:
    for channel, grid in grids.items():
        remedy = f"resample {channel} to the grid of {first}"
        if grid.shape != grids[first].shape:
            sizes = [" x ".join(map(str, grids[name].shape)) for name in (channel, first)]
            message = f"{channel} has {sizes[0]} voxels, {first} has {sizes[1]}"
            yield Finding("error", "grids", message, remedy)
            continue
        corners = np.array(list(itertools.product(*((0, size - 1) for size in grid.shape))))
        offsets = apply_affine(grid.affine, corners) - apply_affine(grids[first].affine, corners)
        away_mm = float(np.linalg.norm(offsets, axis=1).max())
        if away_mm > _AFFINE_TOLERANCE_MM:
            message = f"{channel} lies up to {away_mm:.1f} mm away from {first}"
            yield Finding("error", "grids", message, remedy)


def _spacing(grid: Grid, bundle: Bundle) -> Iterator[Finding]:
    told, ratios = [], []
    for axis, own, low, high in zip(
        AXES, grid.ras_spacing_mm, *bundle.ranges.spacing_mm, strict=True
    ):
        # Above 1: larger than in training, below: smaller.
        ratios.append(max(own / high, 1) * min(own / low, 1))
        if max(ratios[-1], 1 / ratios[-1]) > _SPACING_TOLERANCE:
            told.append(f"{own:.3g} mm along {axis} (training: {_range(low, high)})")
    if not told:
        return
    message = f"voxels of {', '.join(told)}"
    farthest = max(max(ratio, 1 / ratio) for ratio in ratios)
    common = max(min(ratios), 1 / max(ratios))
    if farthest > _IMPOSSIBLE_SPACING or common > _ANOTHER_UNIT:
        yield Finding("error", "spacing", message, "correct the unit in the header: mm")
    else:
        yield Finding("warning", "spacing", message)


def _field_of_view(grid: Grid, bundle: Bundle) -> Iterator[Finding]:
    extents_mm = np.multiply(grid.ras_shape, grid.ras_spacing_mm)
    told = [
        f"{own:.3g} mm along {axis} (training: {_range(low, high)})"
        for axis, own, low, high in zip(AXES, extents_mm, *bundle.ranges.extent_mm, strict=True)
        if own * _FIELD_OF_VIEW_TOLERANCE < low or own > high * _FIELD_OF_VIEW_TOLERANCE
    ]
    if told:
        yield Finding("warning", "field_of_view", ", ".join(told))


def _broken(channel: str, array: NDArray[np.float32]) -> Iterator[Finding]:
    lowest, highest = float(array.min()), float(array.max())
    if not np.isfinite([lowest, highest]).all():
        count = array.size - int(np.count_nonzero(np.isfinite(array)))
        yield Finding(
            "error",
            "voxels",
            f"{count} of {array.size} voxels of {channel} are NaN or infinite",
            "fill them, with air in CT and 0 in MR",
        )
    elif lowest == highest:
        yield Finding(
            "error",
            "voxels",
            f"every voxel of {channel} is {lowest:g}: there is no image in it",
            "export the image again, and look at it in a viewer",
        )
    elif len(values := np.unique(_sample(array))) <= _FEW_VALUES:
        yield Finding(
            "error",
            "voxels",
            f"{channel} has only {len(values)} different values: it looks like a label map",
            "give the image, not its segmentation",
        )


def _intensities(channel: str, array: NDArray[np.float32], bundle: Bundle) -> list[Finding]:
    """Compare with the training, where the normalisation takes the numbers as they are."""
    method = bundle.preprocessing.normalisation_of(channel)
    trained = bundle.ranges.intensities.get(channel)
    if trained is None or not isinstance(method, CtWindow | Unchanged):
        return []
    low, middle, high = np.percentile(_sample(array), (0.1, 50, 99.9)).tolist()
    lowest, highest = trained.percentile_0_1[0], trained.percentile_99_9[1]
    width = highest - lowest
    message = f"{channel} goes from {low:.4g} to {high:.4g}, training images from {lowest:.4g} to "
    message += f"{highest:.4g}"
    distance = _distance((low, middle, high), trained)
    if high - low < _NARROW * width:
        return [
            Finding(
                "error",
                "intensity",
                f"{message}: it has been normalised, or has another unit",
                "give the image with its original intensities (HU for CT)",
            )
        ]
    shifted = (low - _CT_OFFSET, middle - _CT_OFFSET, high - _CT_OFFSET)
    if (
        isinstance(method, CtWindow)
        and distance > _CT_OFFSET / 2
        and _distance(shifted, trained) < distance / 2
    ):
        return [
            Finding(
                "error",
                "intensity",
                f"{message}: it looks like CT without the offset of {_CT_OFFSET:g}, or is no CT",
                f"if it is CT, subtract {_CT_OFFSET:g}, so that air is near -1000 and water near "
                "0 HU; this model is for nothing else",
            )
        ]
    return [Finding("warning", "intensity", message)] if distance > _FAR * width else []


def _sample(array: NDArray[np.float32]) -> NDArray[np.float32]:
    step = max(1, round((array.size / _MOST_VOXELS) ** (1 / 3)))
    return array[::step, ::step, ::step]


def _distance(percentiles: Sequence[float], trained: IntensityRange) -> float:
    """Sum of how far percentiles lie outside of what they were in training."""
    ranges = (trained.percentile_0_1, trained.median, trained.percentile_99_9)
    return sum(
        max(low - own, own - high, 0) for own, (low, high) in zip(percentiles, ranges, strict=True)
    )


def _range(low: float, high: float) -> str:
    return f"{low:.3g} mm" if low == high else f"{low:.3g} to {high:.3g} mm"
