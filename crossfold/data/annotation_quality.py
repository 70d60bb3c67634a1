"""What is odd about contours: missing slices, extents, overlaps.

Two of InnerEye's scripts in one pass over the files. What differs: axes are those of the patient,
x to the right, y to the front and z to the head (InnerEye's x was z, as its arrays were stored the
other way round); the volume of a voxel is not rounded before it is multiplied; series and
institution are found by name, not by position; names of subjects need not be numbers; structures
may share a file; gaps and unreadable files are listed, and stop nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.data.dataset import Dataset, Row, rows_of, structure_mask
from crossfold.data.text_tables import fixed_width
from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_labels
from crossfold.parallel import map_subjects

AXES = "xyz"
_ABOUT = ["subject", "institution", "series", "structure"]
_EXTENTS = [f"{axis}_{end}" for axis in AXES for end in ("lo", "hi", "max")]
EXTREMES_COLUMNS = [*_ABOUT, *_EXTENTS, "missing_slices", "problem"]
OVERLAP_COLUMNS = [*_ABOUT, "overlap_voxels", "overlap_with", "voxels", "volume_ml", "problem"]

_GRID_TOLERANCE_MM = 0.1
_NOT_FOUND = -1


@dataclass(frozen=True)
class AnnotationQuality:
    """Contours of a dataset, one row per subject and structure.

    Parameters
    ----------
    extremes
        `EXTREMES_COLUMNS`: first and last voxel of the structure along each axis of the patient
        and the last of the image, counted from 0 (empty without a voxel); slices inside the
        structure without a voxel of it, such as `z: 79-107, 110; x: 5`; what else is wrong.
    overlap
        `OVERLAP_COLUMNS`: voxels that are in another structure as well, and in which; number of
        voxels and volume of the structure in ml; what else is wrong.
    """

    extremes: pd.DataFrame
    overlap: pd.DataFrame


def assess_annotations(
    dataset: Dataset, structures: Sequence[str], *, workers: int
) -> AnnotationQuality:
    """Look at the contours of all subjects; each file is read once.

    Files that cannot be read or lie on different grids are problems in the tables, not errors.

    Parameters
    ----------
    dataset
        Where the contours are.
    structures
        Structures to look at.
    workers
        Number of processes.
    """
    rows_of_subject: dict[str, list[Row]] = {subject: [] for subject in dataset.subjects}
    for row in rows_of(dataset.table):
        rows_of_subject[row["subject"]].append(row)
    assess = partial(_assess_subject, dataset=dataset, structures=structures)
    assessed = map_subjects(
        assess, rows_of_subject.values(), workers=workers, title="assess contours"
    )
    about = dataset.metadata[["subject", "institution", "series"]]
    found = pd.DataFrame(
        [row for rows in assessed for row in rows],
        columns=list(dict.fromkeys([*_ABOUT, *EXTREMES_COLUMNS, *OVERLAP_COLUMNS])),
    ).drop(columns=["institution", "series"])
    counts = [*_EXTENTS, "overlap_voxels", "voxels"]
    whole = found.merge(about, on="subject", how="left").astype(dict.fromkeys(counts, "Int64"))
    return AnnotationQuality(whole[EXTREMES_COLUMNS], whole[OVERLAP_COLUMNS])


def missing_slices(mask: NDArray[np.bool_]) -> str:
    """List slices without a voxel between the first and the last with one, for each axis.

    Parameters
    ----------
    mask
        bool array (x, y, z).

    Examples
    --------
    >>> mask = np.ones((1, 1, 6), bool)
    >>> mask[:, :, [1, 3, 4]] = False
    >>> missing_slices(mask)
    'z: 1, 3-4'
    """
    gaps = {}
    for axis, occupied in zip(AXES, _occupied(mask), strict=True):
        steps = zip(occupied[:-1] + 1, occupied[1:] - 1, strict=True)
        gaps[axis] = [(first, last) for first, last in steps if first <= last]
    listed = {
        axis: ", ".join(
            f"{first}" if first == last else f"{first}-{last}" for first, last in ranges
        )
        for axis, ranges in gaps.items()
    }
    # Contours are drawn on axial slices, so that is where a reader looks first.
    return "; ".join(f"{axis}: {listed[axis]}" for axis in reversed(AXES) if listed[axis])


def extremes_text(extremes: pd.DataFrame, *, problems_only: bool = False) -> str:
    """Lay out the extents by institution, as InnerEye did; -1 where a structure has no voxel.

    Parameters
    ----------
    extremes
        Table of `AnnotationQuality`.
    problems_only
        Leave out structures without missing slices and problems.
    """
    wrong = (extremes["missing_slices"] != "") | (extremes["problem"] != "")
    titles = [f"{axis}{end}" for axis in AXES for end in ("Lo", "Hi", "Mx")]
    extents = extremes[_EXTENTS].fillna(_NOT_FOUND).astype(str)
    columns = extents.set_axis(titles, axis=1).assign(
        Sub=extremes["subject"],
        Series=extremes["series"],
        Structure=extremes["structure"],
        Missing=_joined(extremes["missing_slices"], extremes["problem"]),
    )
    explanation = """\
Extent of the structures, in voxels counted from 0
Lo, Hi: first and last voxel of the structure; Mx: last of the image; x to the right, y to the
front, z to the head. Missing: slices without a voxel, with others on both sides."""
    left = ["Sub", "Series", "Structure", "Missing"]
    return _by_institution(explanation, extremes, columns, left, wrong if problems_only else None)


def overlap_text(overlap: pd.DataFrame, *, problems_only: bool = False) -> str:
    """Lay out overlaps and volumes by institution.

    Parameters
    ----------
    overlap
        Table of `AnnotationQuality`.
    problems_only
        Leave out structures without overlaps and problems.
    """
    wrong = overlap["overlap_voxels"].gt(0).fillna(False) | (overlap["problem"] != "")
    columns = pd.DataFrame(
        {
            "LabelOverlap": overlap["overlap_voxels"].astype(str).fillna(""),
            "LabelVolume (mL)": [
                "" if np.isnan(volume_ml) else f"{volume_ml:.3f}"
                for volume_ml in overlap["volume_ml"]
            ],
            "Sub": overlap["subject"],
            "Series": overlap["series"],
            "Structure": overlap["structure"],
            "Overlaps with": _joined(overlap["overlap_with"], overlap["problem"]),
        }
    )
    explanation = """\
Overlap and volume of the structures
LabelOverlap: voxels of the structure that are in another one as well, and behind the name of that
structure, how many they share."""
    left = ["Sub", "Series", "Structure", "Overlaps with"]
    return _by_institution(explanation, overlap, columns, left, wrong if problems_only else None)


def _assess_subject(
    rows: Sequence[Row], *, dataset: Dataset, structures: Sequence[str]
) -> list[dict[str, Any]]:
    """One row per structure of a subject."""
    measured: dict[str, dict[str, Any]] = {}
    comparable: dict[str, NDArray[np.bool_]] = {}
    problems: dict[str, str] = {}
    first: Image | None = None
    for structure, row, image in _read_structures(rows, dataset, structures, problems):
        mask = structure_mask(image.array, row["label"])
        measured[structure] = _measured(mask, image.voxel_volume_ml)
        first = first or image
        if _same_grid(image, first):
            comparable[structure] = mask
        else:
            problems[structure] = f"on another grid than {next(iter(measured))}"
    assessed = []
    for structure in structures:
        row = {
            "subject": rows[0]["subject"],
            "structure": structure,
            "missing_slices": "",
            "overlap_with": "",
            "problem": problems.get(structure, ""),
        }
        overlap = _overlap(structure, comparable) if structure in comparable else {}
        assessed.append(row | measured.get(structure, {}) | overlap)
    return assessed


def _read_structures(
    rows: Sequence[Row], dataset: Dataset, structures: Sequence[str], problems: dict[str, str]
) -> Iterator[tuple[str, Row, Image]]:
    """Label maps along the axes of the patient; what cannot be read becomes a problem."""
    images: dict[str, Image | CrossfoldError] = {}
    for structure in structures:
        found = [row for row in rows if row["channel"] == structure]
        if len(found) != 1:
            problems[structure] = f"{len(found) or 'no'} rows in dataset.csv"
            continue
        name = found[0]["filePath"]
        if name not in images:
            try:
                images[name] = read_labels(dataset.folder / name).to_ras()
            except CrossfoldError as error:
                images[name] = error
        image = images[name]
        if isinstance(image, CrossfoldError):
            problems[structure] = image.message.replace(str(dataset.folder / name), name)
        else:
            yield structure, found[0], image


def _measured(mask: NDArray[np.bool_], voxel_volume_ml: float) -> dict[str, Any]:
    voxels = int(np.count_nonzero(mask))
    row: dict[str, Any] = {
        f"{axis}_max": size - 1 for axis, size in zip(AXES, mask.shape, strict=True)
    }
    row |= {"voxels": voxels, "volume_ml": voxels * voxel_volume_ml}
    if not voxels:
        return row | {"problem": "no voxel"}
    for axis, occupied in zip(AXES, _occupied(mask), strict=True):
        row |= {f"{axis}_lo": int(occupied[0]), f"{axis}_hi": int(occupied[-1])}
    return row | {"missing_slices": missing_slices(mask)}


def _overlap(structure: str, masks: dict[str, NDArray[np.bool_]]) -> dict[str, Any]:
    own = masks[structure]
    shared = np.zeros(np.count_nonzero(own), bool)
    partners = []
    for other, mask in masks.items():
        common = mask[own]
        if other != structure and common.any():
            shared |= common
            partners.append(f"{other} {np.count_nonzero(common)}")
    return {"overlap_voxels": int(shared.sum()), "overlap_with": ", ".join(partners)}


def _occupied(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Indices of the slices with a voxel, for each axis."""
    others = [(1, 2), (0, 2), (0, 1)]
    return [np.flatnonzero(mask.any(axis=axes)) for axes in others]


def _same_grid(one: Image, other: Image) -> bool:
    return one.array.shape == other.array.shape and np.allclose(
        one.affine, other.affine, rtol=0, atol=_GRID_TOLERANCE_MM
    )


def _joined(one: pd.Series, two: pd.Series) -> pd.Series:
    """Two columns of text as one."""
    return (one + "; " + two).str.strip("; ")


def _by_institution(
    explanation: str,
    table: pd.DataFrame,
    columns: pd.DataFrame,
    left: Sequence[str],
    wanted: pd.Series | None,
) -> str:
    """Sections of text, one per institution in the order of their names."""
    kept = columns if wanted is None else columns[wanted]
    sections = [explanation]
    for institution, rows in kept.groupby(table["institution"].loc[kept.index]):
        title = f"institution {institution}" if institution else "institution not known"
        sections.append(f"=== {title} ===\n\n{fixed_width(rows, left=left)}")
    if kept.empty:
        sections.append("No problems found." if wanted is not None else "No structures.")
    return "\n\n".join(sections) + "\n"
