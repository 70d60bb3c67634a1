"""What can be wrong with the files of one subject."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from crossfold.config.checks import ChecksConfig
from crossfold.data.dataset import Row, label_values, structure_mask
from crossfold.errors import CrossfoldError
from crossfold.images import read_header

Severity = Literal["error", "warning"]

_SHOWN_VALUES = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `subject` is empty when it concerns the whole dataset."""

    subject: str
    severity: Severity
    check: str
    channel: str
    file: str
    message: str


@dataclass
class SubjectFindings:
    """What reading one subject's files has shown.

    Parameters
    ----------
    subject
        Name of the subject.
    problems
        Everything that is wrong with it.
    spacing_mm
        Voxel size along left-right, posterior-anterior and inferior-superior; None if no file
        of the subject was readable.
    image_digests
        Digest of the voxels of each image channel that is not constant.
    present, empty
        Structures with and without voxels, among those that were readable.
    """

    subject: str
    problems: list[Problem] = field(default_factory=list)
    spacing_mm: NDArray[np.float64] | None = None
    image_digests: dict[str, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    empty: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Grid:
    file: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64]


@dataclass(kw_only=True)
class _Inspection:
    """Reads every file of one subject once, and collects what is wrong."""

    subject: str
    rows: Sequence[Row]
    folder: Path
    images: Sequence[str]
    structures: Sequence[str]
    checks: ChecksConfig

    def __post_init__(self) -> None:
        self.findings = SubjectFindings(self.subject)
        self._reference: _Grid | None = None
        self._owners: NDArray[np.uint16] | None = None

    def run(self) -> SubjectFindings:
        """Inspect the rows and the files behind them."""
        self._check_metadata()
        rows_of_file: dict[str, list[Row]] = {}
        for row in self._needed_rows():
            rows_of_file.setdefault(row["filePath"], []).append(row)
        for file, rows in rows_of_file.items():
            self._check_file(file, rows)
        return self.findings

    def _report(self, severity: Severity, check: str, rows: Sequence[Row], message: str) -> None:
        """Note a problem of the file behind one or more rows."""
        channels = ", ".join(row["channel"] for row in rows)
        file = rows[0]["filePath"] if rows else ""
        self.findings.problems.append(
            Problem(self.subject, severity, check, channels, file, message)
        )

    def _check_metadata(self) -> None:
        for column in ("group", "institutionId"):
            values = sorted({row[column] for row in self.rows} - {""})
            if len(values) > 1:
                message = f"the rows disagree on {column}: {', '.join(values)}"
                self._report("error", "metadata_conflict", [], message)

    def _needed_rows(self) -> list[Row]:
        """The one row of each channel that the model needs, images first."""
        needed: list[Row] = []
        for channel in (*self.images, *self.structures):
            rows = [row for row in self.rows if row["channel"] == channel]
            if len(rows) == 1:
                needed += rows
            elif rows:
                message = f"{len(rows)} rows for one channel"
                self._report("error", "duplicate_row", rows[:1], message)
            else:
                row = {"channel": channel, "filePath": ""}
                self._report("error", "missing_row", [row], "dataset.csv has no row for it")
        return needed

    def _check_file(self, file: str, rows: list[Row]) -> None:
        path = self.folder / file
        if not path.is_file():
            self._report("error", "missing_file", rows, "no such file")
            return
        try:
            voxels, affine = _read_voxels(path)
        except (
            Exception
        ) as error:  # nibabel lets many through: whatever it is belongs in the report
            self._report("error", "unreadable_file", rows, _reason(error, path))
            return
        if not self._check_dimensions(voxels, rows) or not self._check_grid(
            _Grid(file, voxels.shape[:3], affine), rows
        ):
            return
        for row in rows:
            if row["channel"] in self.images:
                volume = int(row["volume"] or 0)
                self._check_image(row, voxels[..., volume] if voxels.ndim == 4 else voxels)
        contours = [row for row in rows if row["channel"] in self.structures]
        if contours:
            self._check_label_map(contours, voxels.reshape(voxels.shape[:3]))

    def _check_dimensions(self, voxels: NDArray, rows: list[Row]) -> bool:
        volumes = voxels.shape[3] if voxels.ndim == 4 else 1
        for row in rows:
            if voxels.ndim not in (3, 4):
                message = f"has {voxels.ndim} dimensions, not 3"
            elif row["volume"] and row["channel"] in self.structures:
                message = "a structure cannot be a volume of a 4-D file"
            elif row["volume"] and (voxels.ndim == 3 or int(row["volume"]) >= volumes):
                message = f"has no volume {row['volume']}: its shape is {_times(voxels.shape)}"
            elif not row["volume"] and volumes > 1:
                message = f"has {volumes} volumes, and its row does not say which"
            else:
                continue
            self._report("error", "wrong_dimension", [row], message)
            return False
        return True

    def _check_grid(self, grid: _Grid, rows: list[Row]) -> bool:
        """Compare with the subject's first file; False if voxels cannot be compared."""
        if not np.isfinite(grid.affine).all() or abs(np.linalg.det(grid.affine)) < 1e-12:
            self._report("error", "invalid_affine", rows, "the affine cannot be inverted")
            return False
        if self._reference is None:
            self._reference = grid
            self.findings.spacing_mm = _spacing_in_ras_mm(grid.affine)
            return True
        first = self._reference
        if grid.shape != first.shape:
            message = f"shape {_times(grid.shape)}, but {first.file} has {_times(first.shape)}"
            self._report("error", "shape_mismatch", rows, message)
            return False
        distance_mm = _largest_corner_distance_mm(grid, first)
        if distance_mm > self.checks.affine_tolerance_mm:
            message = f"lies up to {distance_mm:.3g} mm away from {first.file}"
            self._report("error", "affine_mismatch", rows, message)
        return True

    def _check_image(self, row: Row, image: NDArray[np.float32]) -> None:
        infinite = image.size - np.count_nonzero(np.isfinite(image))
        if infinite:
            message = f"{infinite} of {image.size} voxels are NaN or infinite"
            self._report("error", "non_finite", [row], message)
        elif image.min() == image.max():
            self._report("warning", "constant_image", [row], f"every voxel is {image.flat[0]:g}")
        else:
            content = np.ascontiguousarray(image.T)  # NIfTI lies in Fortran order
            self.findings.image_digests[row["channel"]] = blake2b(content.data).hexdigest()

    def _check_label_map(self, rows: list[Row], voxels: NDArray[np.float32]) -> None:
        if not np.isfinite(voxels).all():
            self._report("error", "non_finite", rows, "contains NaN or infinite voxels")
            return
        labels = np.rint(voxels).astype(np.int32)
        if not np.array_equal(labels, voxels):
            message = f"contains {voxels[labels != voxels].flat[0]:g}"
            self._report("error", "non_integer_labels", rows, message)
            return
        self._check_label_values(rows, labels)
        for row in rows:
            self._check_structure(row, structure_mask(labels, row["label"]))

    def _check_label_values(self, rows: list[Row], labels: NDArray[np.int32]) -> None:
        declared = {0}
        for declaring in self.rows:
            if declaring["filePath"] == rows[0]["filePath"]:
                # A file without label is a binary mask.
                declared.update(label_values(declaring["label"]) or (1,))
        unknown = sorted({int(value) for value in pd.unique(labels.ravel(order="K"))} - declared)
        if unknown:
            shown = ", ".join(str(value) for value in unknown[:_SHOWN_VALUES])
            message = (
                f"contains {shown}{', …' if len(unknown) > _SHOWN_VALUES else ''}; "
                f"dataset.csv declares {', '.join(str(value) for value in sorted(declared))}"
            )
            self._report("error", "undeclared_label", rows, message)

    def _check_structure(self, row: Row, mask: NDArray[np.bool_]) -> None:
        structure = row["channel"]
        if not mask.any():
            self.findings.empty.add(structure)
            self._report(self.checks.empty_structure, "empty_structure", [row], "has no voxel")
            return
        self.findings.present.add(structure)
        if self._owners is None:
            self._owners = np.zeros(mask.shape, np.uint16)
        owners = self._owners[mask]
        if owners.any():
            names = [self.structures[owner - 1] for owner in np.unique(owners[owners > 0])]
            severity: Severity = "error" if self.checks.overlap == "error" else "warning"
            message = f"{np.count_nonzero(owners)} voxels are also in {', '.join(names)}"
            self._report(severity, "overlap", [row], message)
        self._owners[mask] = self.structures.index(structure) + 1


def inspect_subject(
    subject: str,
    rows: Sequence[Row],
    *,
    folder: Path,
    images: Sequence[str],
    structures: Sequence[str],
    checks: ChecksConfig,
) -> SubjectFindings:
    """Read every file of one subject once, and collect what is wrong.

    Parameters
    ----------
    subject
        Name of the subject.
    rows
        Its rows of dataset.csv.
    folder
        Folder of dataset.csv.
    images, structures
        Channels that the model needs and that dataset.csv knows.
    checks
        How strict to be.
    """
    return _Inspection(
        subject=subject,
        rows=rows,
        folder=folder,
        images=images,
        structures=structures,
        checks=checks,
    ).run()


def _read_voxels(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """All voxels of a file, however many dimensions it has, and its affine."""
    nifti = read_header(path)
    return np.asarray(nifti.dataobj, dtype=np.float32), np.asarray(nifti.affine, dtype=np.float64)


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, CrossfoldError):
        return error.message.removeprefix(f"{path}: ")
    if isinstance(error, (EOFError, OSError, zlib.error)):
        return f"damaged or truncated ({error})"
    return f"not readable ({type(error).__name__}: {error})"


def _spacing_in_ras_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel sizes in the order of the patient's axes, so that orientations compare."""
    spacing_mm = np.empty(3)
    spacing_mm[nib.io_orientation(affine)[:, 0].astype(int)] = voxel_sizes(affine)
    return spacing_mm


def _largest_corner_distance_mm(first: _Grid, second: _Grid) -> float:
    corners = np.array(list(itertools.product(*((0, size - 1) for size in first.shape))))
    offsets = apply_affine(first.affine, corners) - apply_affine(second.affine, corners)
    return float(np.linalg.norm(offsets, axis=1).max())


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in shape)
