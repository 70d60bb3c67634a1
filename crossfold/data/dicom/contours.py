"""Structures of a series as masks: from RT-STRUCT, and from DICOM-SEG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from scipy.ndimage import distance_transform_edt

from crossfold.data.dicom.frames import frames_of
from crossfold.data.dicom.polygons import fill
from crossfold.data.dicom.series import Series, read_header, read_pixels
from crossfold.errors import CrossfoldError

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # of 2024; pydicom has no name for it yet
SEGMENTATIONS = {uid.SegmentationStorage, LABEL_MAP}

_SAME_PLANE = 0.05  # of the distance of slices
_ON_SLICE = 0.1
_WITHIN_SLICE = 0.5
_WIDEST_GAP = 1.5  # of the usual distance of a structure's planes; wider ones are meant
_SAME_GRID = 0.05  # of a pixel

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Structure:
    """One structure of an RT-STRUCT or DICOM-SEG file.

    Parameters
    ----------
    name
        ROIName or SegmentLabel.
    number
        ROINumber or SegmentNumber.
    file
        The file that holds it.
    header
        The file without pixel data.
    """

    name: str
    number: int
    file: Path
    header: Dataset

    def mask(self, series: Series) -> Mask:
        """Return the structure's voxels, (x, y, z) on the grid of a series.

        Raises
        ------
        CrossfoldError
            If it was not drawn on slices like those of the series.
        """
        read = _mask_of_segment if _is_segmentation(self.header) else _mask_of_contours
        return read(self, series)


def read_structures(file: Path) -> list[Structure]:
    """Return the structures of a file; none for one that is neither RT-STRUCT nor DICOM-SEG."""
    header = read_header(file)
    if _is_segmentation(header):
        found = [(item.SegmentLabel, item.SegmentNumber) for item in header.SegmentSequence]
    elif is_structure_set(header):
        rois = header.get("StructureSetROISequence") or []
        found = [(item.get("ROIName") or "", item.ROINumber) for item in rois]
    else:
        return []
    return [Structure(str(name).strip(), int(number), file, header) for name, number in found]


def is_structure_set(header: Dataset) -> bool:
    """Whether a header is that of an RT-STRUCT."""
    return header.get("SOPClassUID") == uid.RTStructureSetStorage


def referenced_series(header: Dataset) -> set[str]:
    """Return the SeriesInstanceUIDs that an RT-STRUCT or DICOM-SEG was drawn on."""
    if _is_segmentation(header):
        series = header.get("ReferencedSeriesSequence") or []
    else:
        series = list(_nested(header, *_REFERENCED))
    return {str(item.SeriesInstanceUID) for item in series}


_REFERENCED = (
    "ReferencedFrameOfReferenceSequence",
    "RTReferencedStudySequence",
    "RTReferencedSeriesSequence",
)


def _nested(dataset: Dataset, keyword: str, *more: str) -> Iterator[Dataset]:
    for item in dataset.get(keyword) or ():
        if more:
            yield from _nested(item, *more)
        else:
            yield item


def find_structure(
    structures: Sequence[Structure], patterns: Sequence[str], where: str
) -> Structure | None:
    """Return the structure that the first matching pattern names, or None.

    Upper and lower case are the same, and so are one space and several; `*`, `?` and `[…]` match as
    in a shell.

    Raises
    ------
    CrossfoldError
        If a pattern matches two structures.
    """
    for pattern in patterns:
        found = [s for s in structures if fnmatchcase(_plain(s.name), _plain(pattern))]
        if len(found) > 1:
            names = ", ".join(f"`{s.name}` of {s.file.name}" for s in found)
            raise CrossfoldError(
                f"{where}: `{pattern}` matches more than one structure: {names}",
                remedy="put the exact name before it, or leave only one structure set there",
            )
        if found:
            return found[0]
    return None


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


def _is_segmentation(header: Dataset) -> bool:
    return header.get("SOPClassUID") in SEGMENTATIONS


def _mask_of_contours(structure: Structure, series: Series) -> Mask:
    heights, planes = _planes(structure, series)
    mask = np.zeros(series.image.array.shape, dtype=bool)
    if not planes:
        return mask
    slices = len(series.frames)
    beyond = max(-heights[0], heights[-1] - (slices - 1))
    if beyond > _WITHIN_SLICE:
        raise CrossfoldError(
            f"{structure.file}: `{structure.name}` reaches {beyond:.1f} slices beyond those of "
            f"{series.name}",
            remedy="slices are missing at an end of the series: export it again",
        )
    usual = np.median(np.diff(heights)) if len(heights) > 1 else 0
    widest = _WIDEST_GAP * max(float(usual), 1)
    for z in range(slices):
        plane = _plane_at(z, heights, planes, widest, series.image.spacing_mm[:2])
        if plane is not None:
            mask[..., z] = plane
    return mask


def _planes(structure: Structure, series: Series) -> tuple[NDArray[np.float64], list[Mask]]:
    """Return the heights of a structure's contours, in slices, and what they enclose there."""
    contours = list(_contours(structure, series))
    if not contours:
        return np.empty(0), []
    heights = np.array([points[:, 2].mean() for points in contours])
    order = np.argsort(heights, kind="stable")
    # A hole may be written before what it is in, or after other slices.
    groups = np.split(order, np.flatnonzero(np.diff(heights[order]) > _SAME_PLANE) + 1)
    columns, rows, _ = series.image.array.shape
    masks = [fill([contours[i][:, :2] for i in group], (columns, rows)) for group in groups]
    return np.array([heights[group].mean() for group in groups]), masks


def _contours(structure: Structure, series: Series) -> Iterator[NDArray[np.float64]]:
    """Yield the vertices of closed contours, n x 3, in voxels of the series."""
    to_voxels = np.linalg.inv(series.affine_lps)
    for roi in structure.header.get("ROIContourSequence") or ():
        if roi.ReferencedROINumber != structure.number:
            continue
        for contour in roi.get("ContourSequence") or ():
            if not str(contour.get("ContourGeometricType", "")).startswith("CLOSED"):
                continue  # points and open lines enclose nothing
            points = _points(contour, structure)
            if len(points) < 3:
                continue
            voxels = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
            if np.ptp(voxels[:, 2]) > _WITHIN_SLICE:
                raise CrossfoldError(
                    f"{structure.file}: contours of `{structure.name}` cross the slices of "
                    f"{series.name}",
                    remedy="draw them on these slices, or import the series they were drawn on",
                )
            yield voxels


def _points(contour: Dataset, structure: Structure) -> NDArray[np.float64]:
    """Return the vertices of a contour in mm, n x 3."""
    try:
        points = _numbers(contour, "ContourData").reshape(-1, 3)
    except ValueError:
        points = np.full((1, 3), np.nan)
    if not np.isfinite(points).all():
        raise CrossfoldError(
            f"{structure.file}: a contour of `{structure.name}` is no list of points",
            remedy="export the structure set again",
        )
    return points


def _numbers(dataset: Dataset, keyword: str) -> NDArray[np.float64]:
    """Return a list of decimal strings; ten times as fast as element by element."""
    element: Any = dataset.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes):
        value = value.decode("ascii").strip("\0 ")
        value = value.split("\\") if value else None
    return np.array([] if value is None else value, dtype=np.float64)


def _plane_at(
    z: int,
    heights: NDArray[np.float64],
    planes: list[Mask],
    widest: float,
    spacing_mm: tuple[float, float],
) -> Mask | None:
    """Return what a structure covers in a slice.

    Between planes that are no farther apart than usual, the signed distance to their outlines is
    interpolated (Raya and Udupa 1990, IEEE Transactions on Medical Imaging 9:32-42).
    """
    nearest = int(np.abs(heights - z).argmin())
    above = int(np.searchsorted(heights, z))
    if abs(heights[nearest] - z) <= _ON_SLICE:
        return planes[nearest]
    if 0 < above < len(heights) and heights[above] - heights[above - 1] <= widest:
        weight = (z - heights[above - 1]) / (heights[above] - heights[above - 1])
        below_mm, above_mm = (_signed_distance(planes[i], spacing_mm) for i in (above - 1, above))
        return (1 - weight) * below_mm + weight * above_mm > 0
    return planes[nearest] if abs(heights[nearest] - z) <= _WITHIN_SLICE else None


def _signed_distance(mask: Mask, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Distance to the outline in mm, positive inside."""
    framed = np.pad(mask, 1)
    if not mask.any():
        return np.full(mask.shape, -np.inf)
    inside = distance_transform_edt(framed, sampling=spacing_mm)
    outside = distance_transform_edt(~framed, sampling=spacing_mm)
    return (inside - outside)[1:-1, 1:-1]


def _mask_of_segment(structure: Structure, series: Series) -> Mask:
    mask = np.zeros(series.image.array.shape, dtype=bool)
    header = structure.header
    pixels = read_pixels(structure.file)
    is_label_map = header.SegmentationType == "LABELMAP"
    to_voxels = np.linalg.inv(series.affine_lps)
    for frame in frames_of(header, structure.file):
        number = frame.value("SegmentIdentificationSequence", "ReferencedSegmentNumber")
        if not is_label_map and number != structure.number:
            continue
        x_y_z = to_voxels[:3, :3] @ frame.position + to_voxels[:3, 3]
        axes = to_voxels[:3, :3] @ (frame.orientation * frame.spacing_mm[:, None]).T
        z = round(float(x_y_z[2]))
        # Over a whole slice, the far corner has to agree as well as the near one.
        off = np.abs([x_y_z - [0, 0, z], *(axes.T - np.eye(3)[:2]) * np.array([mask.shape[:2]]).T])
        if (
            pixels.shape[:0:-1] != mask.shape[:2]
            or not 0 <= z < len(series.frames)
            or off.max() > _SAME_GRID
        ):
            raise CrossfoldError(
                f"{structure.file}: `{structure.name}` lies on another grid than {series.name}",
                remedy="import the series it was made for, or resample it to this one",
            )
        mask[..., z] |= _inside(pixels[frame.index], structure).T
    return mask


def _inside(plane: NDArray, structure: Structure) -> Mask:
    if structure.header.SegmentationType == "LABELMAP":
        return plane == structure.number
    if structure.header.SegmentationType == "FRACTIONAL":
        return plane >= structure.header.MaximumFractionalValue / 2
    return plane.astype(bool)
