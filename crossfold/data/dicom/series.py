"""A series of slices as one image."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from crossfold.data.dicom.files import dicom_files
from crossfold.data.dicom.frames import Frame, frames_of, stack
from crossfold.errors import CrossfoldError
from crossfold.images import Image

logger = logging.getLogger(__name__)

IMAGES = {
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedPETImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedPETImageStorage,
    uid.MRImageStorage,
    uid.PositronEmissionTomographyImageStorage,
}

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """A volume and the DICOM headers that it came with.

    Parameters
    ----------
    name
        What messages call it: its folder or file.
    frames
        Slices along the third axis of the image.
    image
        float32 array (x, y, z) in the unit of the modality, such as HU.
    """

    name: str
    frames: tuple[Frame, ...]
    image: Image

    @property
    def datasets(self) -> list[Dataset]:
        """Headers of the files without pixel data, in the order of the slices."""
        return list({id(frame.header): frame.header for frame in self.frames}.values())

    @property
    def uid(self) -> str:
        """The SeriesInstanceUID."""
        return str(self.frames[0].header.SeriesInstanceUID)

    @cached_property
    def affine_lps(self) -> NDArray[np.float64]:
        """4 x 4, voxel indices to mm of DICOM."""
        return _LPS_TO_RAS @ self.image.affine


@dataclass(frozen=True)
class Files:
    """The files of one series, or of one object such as a structure set.

    Parameters
    ----------
    header
        Header of the first file.
    paths
        All files, in the order of their paths.
    """

    header: Dataset
    paths: tuple[Path, ...]

    @property
    def is_image(self) -> bool:
        """Whether it is a volume, and no localizer or derived object."""
        return self.header.get("SOPClassUID") in IMAGES and not _is_localizer(self.header)

    @property
    def title(self) -> str:
        """Modality, description and size, for messages."""
        parts = (self.header.get("Modality"), self.header.get("SeriesDescription"))
        return f"{' '.join(str(part) for part in parts if part)} ({len(self.paths)} files)"


def find_series(folder: Path) -> list[Files]:
    """Return what a folder and its subfolders hold, by series, in the order of first files.

    Raises
    ------
    CrossfoldError
        If a DICOM file cannot be read.
    """
    found: dict[tuple[str, bool], list[tuple[Path, Dataset]]] = {}
    for path in dicom_files(folder):
        header = read_header(path)
        key = (str(header.get("SeriesInstanceUID", path)), _is_localizer(header))
        found.setdefault(key, []).append((path, header))
    return [Files(files[0][1], tuple(path for path, _ in files)) for files in found.values()]


def read_header(path: Path) -> Dataset:
    """Read a DICOM file without its pixel data.

    Raises
    ------
    CrossfoldError
        If it cannot be read.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError) as error:
        raise CrossfoldError(
            f"{path}: not readable as DICOM ({error})", remedy="copy it again from its source"
        ) from error


def read_series(source: Path | Sequence[Path]) -> Series:
    """Read the one series of a folder, or the series that consists of some files.

    Localizers and what is no image (structure sets, segmentations, dose) are passed over.

    Parameters
    ----------
    source
        Folder, searched at any depth, or the files of a series.

    Raises
    ------
    CrossfoldError
        If there is no series or more than one, slices are missing, doubled, uneven or tilted, the
        position of a slice is unknown, or its pixels cannot be decoded.
    """
    if isinstance(source, Path):
        if not source.exists():
            raise CrossfoldError(f"{source}: no such folder", remedy="correct the path")
        if source.is_file():
            return read_series([source])
        return _read(str(source), _the_one_series(source).paths)
    name = str(source[0].parent if len(source) > 1 else source[0])
    return _read(name, source)


def _the_one_series(folder: Path) -> Files:
    found = find_series(folder)
    images = [files for files in found if files.is_image]
    if not images:
        others = ", ".join(files.title for files in found) or "no DICOM file"
        raise CrossfoldError(
            f"{folder}: no series of CT, MR or PET slices; there is {others}",
            remedy="give the folder that holds the slices",
        )
    if len(images) > 1:
        raise CrossfoldError(
            f"{folder}: {len(images)} series: {', '.join(files.title for files in images)}",
            remedy="give the folder of one series",
        )
    return images[0]


def _read(name: str, paths: Iterable[Path]) -> Series:
    # A file that was copied twice is one slice; the first of its copies counts.
    headers: dict[str, tuple[Dataset, Path]] = {}
    for path in paths:
        header = read_header(path)
        headers.setdefault(str(header.get("SOPInstanceUID", path)), (header, path))
    _check_one_series([header for header, _ in headers.values()], name)
    frames, affine = stack([f for each in headers.values() for f in frames_of(*each)], name)
    nifti = nib.Nifti1Header()
    nifti.set_xyzt_units("mm")
    shape = (frames[0].header.Columns, frames[0].header.Rows, len(frames))
    array = np.empty(shape, dtype=np.float32)
    by_file = sorted(enumerate(frames), key=lambda item: (item[1].file, item[1].index))
    for file, slices in groupby(by_file, key=lambda item: item[1].file):
        pixels = read_pixels(file)
        for z, frame in slices:
            slope, intercept = _rescaling(frame)
            plane = pixels[frame.index] if frame.groups else pixels
            array[..., z] = (plane * slope + intercept).T
    return Series(name, tuple(frames), Image(array, _LPS_TO_RAS @ affine, nifti))


def _check_one_series(headers: Sequence[Dataset], name: str) -> None:
    if len({header.get("SeriesInstanceUID") for header in headers}) > 1:
        raise CrossfoldError(
            f"{name}: mixed series: the files have several SeriesInstanceUIDs",
            remedy="give the files of one series",
        )
    for header in headers:
        if header.get("SOPClassUID") not in IMAGES or _is_localizer(header):
            kind = " ".join(map(str, [header.get("Modality", "?"), *header.get("ImageType", [])]))
            raise CrossfoldError(
                f"{name}: not a volume of CT, MR or PET but {kind}",
                remedy="give the folder of the axial, sagittal or coronal slices",
            )


def _is_localizer(header: Dataset) -> bool:
    return "LOCALIZER" in (header.get("ImageType") or ())


def _rescaling(frame: Frame) -> tuple[float, float]:
    """Return slope and intercept from stored values to the unit of the modality."""
    slope = frame.value("PixelValueTransformationSequence", "RescaleSlope")
    intercept = frame.value("PixelValueTransformationSequence", "RescaleIntercept")
    if slope is None and frame.header.get("Modality") == "CT":
        raise CrossfoldError(
            f"{frame.file}: a CT without RescaleSlope, so that its Hounsfield units are unknown",
            remedy="export the original series",
        )
    return (1.0 if slope is None else float(slope)), float(intercept or 0)


def read_pixels(file: Path) -> NDArray:
    """Read the stored values of a file: (row, column), or (frame, row, column).

    Raises
    ------
    CrossfoldError
        If they are damaged, are in colour, or are compressed in a way that is not decoded here.
    """
    dataset = pydicom.dcmread(file)
    syntax = dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)
    try:
        pixels = dataset.pixel_array
    except (AttributeError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        remedy = "copy it again from its source"
        if syntax.is_compressed:
            remedy += ", decompress it (gdcmconv --raw), or: pip install python-gdcm"
        raise CrossfoldError(
            f"{file}: its pixels cannot be read ({syntax.name}: {error})", remedy=remedy
        ) from error
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise CrossfoldError(f"{file}: a picture in colour", remedy="give the original slices")
    return pixels
