"""Where the slices of a series lie, and whether they make up a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from crossfold.errors import CrossfoldError

_SAME_DIRECTION = 1e-3  # cosines are often written with four digits
_SAME_SPACING = 1e-3
_SAME_POSITION_MM = 1e-2
_UNEVEN = 0.1  # of the distance of slices; positions are often rounded to 0.1 mm
_SHIFTED = 0.5  # of a pixel, over the whole stack

_ORIGINAL = "export the original series from the scanner or the archive, uncropped and unmerged"


@dataclass(frozen=True)
class Frame:
    """One slice: a file of a classic series, or a frame of an enhanced one.

    Parameters
    ----------
    header
        Its file without pixel data.
    file
        Path of the file.
    index
        Number of the frame in the file, from 0.
    position
        Centre of the first pixel in mm, LPS.
    orientation
        2 x 3: unit vectors along a row and along a column.
    spacing_mm
        Distance of neighbours within a row, and within a column.
    groups
        Functional groups of the frame, those of all frames behind; empty in a classic series.
    """

    header: Dataset
    file: Path
    index: int
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    groups: tuple[Dataset, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice, from the first slice to the last."""
        return np.cross(*self.orientation)

    @property
    def label(self) -> str:
        """What a message calls it."""
        return self.file.name + (f" (frame {self.index + 1})" if self.groups else "")

    def value(self, sequence: str, keyword: str) -> Any:
        """Return an attribute, from its functional group where there are groups, or None."""
        return _value(self.header, self.groups, sequence, keyword)


def frames_of(header: Dataset, file: Path) -> list[Frame]:
    """Return the slices of a file, in the order of its pixel data.

    Raises
    ------
    CrossfoldError
        If the file does not say where a slice lies.
    """
    shared = header.get("SharedFunctionalGroupsSequence") or []
    own = header.get("PerFrameFunctionalGroupsSequence")
    if own is None:
        return [_frame(header, file, 0, ())]
    return [_frame(header, file, i, (groups, *shared)) for i, groups in enumerate(own)]


def _frame(header: Dataset, file: Path, index: int, groups: tuple[Dataset, ...]) -> Frame:
    def numbers(sequence: str, keyword: str, length: int) -> NDArray[np.float64]:
        value = _value(header, groups, sequence, keyword)
        is_list = value is not None and not isinstance(value, str) and len(value) == length
        found = np.array(value if is_list else [np.nan], dtype=np.float64)
        if not np.isfinite(found).all():
            raise CrossfoldError(
                f"{file}: {keyword} is missing, so that its place in the body is unknown",
                remedy=_ORIGINAL,
            )
        return found

    if not (header.get("Rows") and header.get("Columns")):
        raise CrossfoldError(f"{file}: has no rows and columns", remedy=_ORIGINAL)
    orientation = numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=_SAME_DIRECTION):
        raise CrossfoldError(
            f"{file}: ImageOrientationPatient is not a pair of perpendicular unit vectors",
            remedy=_ORIGINAL,
        )
    spacing_mm = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    if not (spacing_mm > 0).all():
        raise CrossfoldError(f"{file}: PixelSpacing is not positive", remedy=_ORIGINAL)
    return Frame(
        header=header,
        file=file,
        index=index,
        position=numbers("PlanePositionSequence", "ImagePositionPatient", 3),
        orientation=orientation,
        spacing_mm=spacing_mm[::-1],  # DICOM writes the distance of rows first
        groups=groups,
    )


def _value(header: Dataset, groups: tuple[Dataset, ...], sequence: str, keyword: str) -> Any:
    if not groups:
        return header.get(keyword)
    for group in groups:
        for item in group.get(sequence) or ():
            if item.get(keyword) is not None:
                return item[keyword].value
    return None


def stack(frames: Sequence[Frame], name: str) -> tuple[list[Frame], NDArray[np.float64]]:
    """Sort slices along their normal, and check that they fill a volume evenly.

    Parameters
    ----------
    frames
        Slices in any order.
    name
        What messages call the series.

    Returns
    -------
    tuple
        The frames in order, and the 4 x 4 affine from (column, row, slice) to mm, LPS.

    Raises
    ------
    CrossfoldError
        If slices are missing, lie on each other, are of several series, or are shifted sideways.
    """
    _check_alike(frames, name)
    if len(frames) < 2:
        raise CrossfoldError(
            f"{name}: a single slice is no volume", remedy="give the folder of a whole series"
        )
    first = frames[0]
    heights = np.array([frame.position @ first.normal for frame in frames])
    order = np.argsort(heights, kind="stable")
    frames, heights = [frames[i] for i in order], heights[order]
    _check_even(frames, heights, name)
    step = (frames[-1].position - frames[0].position) / (len(frames) - 1)
    _check_upright(frames, step, name)
    affine = np.eye(4)
    affine[:3, :2] = (first.orientation * first.spacing_mm[:, None]).T
    affine[:3, 2] = step
    affine[:3, 3] = frames[0].position
    return list(frames), affine


def _check_alike(frames: Sequence[Frame], name: str) -> None:
    first = frames[0]
    for frame in frames[1:]:
        differs = [
            keyword
            for keyword in ("Rows", "Columns", "FrameOfReferenceUID")
            if frame.header.get(keyword) != first.header.get(keyword)
        ]
        if not np.allclose(frame.orientation, first.orientation, atol=_SAME_DIRECTION):
            differs.append("ImageOrientationPatient")
        if not np.allclose(frame.spacing_mm, first.spacing_mm, rtol=_SAME_SPACING):
            differs.append("PixelSpacing")
        if differs:
            raise CrossfoldError(
                f"{name}: mixed series: {first.label} and {frame.label} differ in "
                f"{', '.join(differs)}",
                remedy="separate what was scanned or exported together",
            )


def _check_even(frames: Sequence[Frame], heights: NDArray[np.float64], name: str) -> None:
    distances = np.diff(heights)
    same = np.flatnonzero(distances < _SAME_POSITION_MM)
    if same.size:
        raise CrossfoldError(
            f"{name}: {same.size} slices lie on another one, such as "
            f"{frames[same[0]].label} and {frames[same[0] + 1].label}",
            remedy="separate echoes, phases, time points or reconstructions into series of one",
        )
    usual = float(np.median(distances))
    wide = np.flatnonzero(distances > (2 - 2 * _UNEVEN) * usual)
    if wide.size:
        gap = wide[0]
        missing = round(float((distances[wide] / usual - 1).sum()))
        raise CrossfoldError(
            f"{name}: missing slices: {missing}, the first between {frames[gap].label} and "
            f"{frames[gap + 1].label}, {distances[gap]:.2f} mm apart, others {usual:.2f} mm",
            remedy="export the series again; a volume cannot have holes",
        )
    even = np.linspace(heights[0], heights[-1], len(heights))
    if np.abs(heights - even).max() > _UNEVEN * usual:
        raise CrossfoldError(
            f"{name}: the slices are not evenly spaced ({distances.min():.2f} to "
            f"{distances.max():.2f} mm apart)",
            remedy="resample the series to even slices (dcm2niix does) and import it as NIfTI",
        )


def _check_upright(frames: Sequence[Frame], step: NDArray[np.float64], name: str) -> None:
    first = frames[0]
    shift_pixels = np.abs(first.orientation @ step) * (len(frames) - 1) / first.spacing_mm
    if shift_pixels.max() > _SHIFTED:
        tilt = np.degrees(np.arccos(np.clip(step @ first.normal / np.linalg.norm(step), -1, 1)))
        raise CrossfoldError(
            f"{name}: the slices are shifted sideways, as by a gantry tilt of {tilt:.1f} degrees",
            remedy="resample the series to upright slices (dcm2niix does) and import it as NIfTI",
        )
