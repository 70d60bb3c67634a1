"""Segmentations written back as DICOM-SEG and RT-STRUCT, beside the series that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from crossfold.data.dicom.derived import Author, Derived
from crossfold.data.dicom.segment import make_segmentation
from crossfold.data.dicom.series import Series
from crossfold.data.dicom.structure_set import make_structure_set
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

__all__ = ["Author", "write_segmentation", "write_structure_set"]

Structures = Sequence[str] | Mapping[str, Sequence[int]]

# Okabe and Ito (2008), as in the figures; the bright ones first, since they lie on grey.
COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#009E73", "#D55E00", "#0072B2")

_LONGEST_NAME = 64


def write_segmentation(
    series: Series,
    segmentation: NDArray[np.integer],
    structures: Structures,
    path: Path,
    *,
    author: Author | None = None,
    colours: Mapping[str, str] | None = None,
    created: datetime | None = None,
) -> None:
    """Write a label map as DICOM-SEG of the type BINARY, which most viewers read.

    Parameters
    ----------
    series
        What was segmented.
    segmentation
        (x, y, z) on the grid of `series.image`; 0 is background.
    structures
        Names in the order of their labels, from 1; or labels of each name, which may overlap, as
        `crossfold.config.labels.label_values` returns them.
    path
        Target, `.dcm`; appears whole or not at all.
    author
        What made the segmentation.
    colours
        Colour of some structures, `#RRGGBB`.
    created
        Date of the content; None for that of the series, so that the same input gives the same
        bytes. Unique identifiers follow from the content and this date.

    Raises
    ------
    CrossfoldError
        If the segmentation is not on the grid of the series, or the series lacks what DICOM needs.
    """
    derived = _derive(series, segmentation, structures, author, colours, created)
    _save(make_segmentation(derived), path)


def write_structure_set(
    series: Series,
    segmentation: NDArray[np.integer],
    structures: Structures,
    path: Path,
    *,
    author: Author | None = None,
    colours: Mapping[str, str] | None = None,
    created: datetime | None = None,
) -> None:
    """Write a label map as RT-STRUCT, one closed contour around each part in each slice.

    Holes are joined to their outline by a channel of no width ("keyhole"), as PS3.3 C.8.8.6.3
    describes, so that systems which add contours up and those which subtract them agree. Contours
    run halfway between pixels inside and outside: read again, they give the same voxels.

    Parameters and errors are those of `write_segmentation`.
    """
    derived = _derive(series, segmentation, structures, author, colours, created)
    _save(make_structure_set(derived), path)


def _derive(
    series: Series,
    segmentation: NDArray[np.integer],
    structures: Structures,
    author: Author | None,
    colours: Mapping[str, str] | None,
    created: datetime | None,
) -> Derived:
    if segmentation.shape != series.image.array.shape:
        raise CrossfoldError(
            f"{series.name}: has {series.image.array.shape} voxels, but its segmentation "
            f"{segmentation.shape}",
            remedy="bring the segmentation to the grid of the series",
        )
    if not isinstance(structures, Mapping):
        structures = {name: (label,) for label, name in enumerate(structures, start=1)}
    for name in structures:
        if len(name) > _LONGEST_NAME or "\\" in name:
            raise CrossfoldError(
                f"`{name}` cannot be the name of a structure in DICOM",
                remedy=f"use at most {_LONGEST_NAME} letters, and no backslash",
            )
    return Derived(
        series=series,
        segmentation=np.asarray(segmentation, dtype=np.uint16),
        labels={name: tuple(labels) for name, labels in structures.items()},
        colours={
            name: (colours or {}).get(name, COLOURS[i % len(COLOURS)])
            for i, name in enumerate(structures)
        },
        author=author or Author(),
        created=created,
    )


def _save(dataset: Dataset, path: Path) -> None:
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
