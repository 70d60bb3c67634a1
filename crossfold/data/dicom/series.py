"""A series of slices as one image."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
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
from pydicom.pixels.decoders.base import get_decoder

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

_DECOMPRESS = "decompress it (gdcmconv --raw), or export it uncompressed"
_INSTALL_GDCM = "pip install python-gdcm"
_INSTALL_OPENJPEG = "pip install pylibjpeg pylibjpeg-openjpeg"

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

    def required(self, keyword: str) -> str:
        """Return what the header has to say, for a segmentation that refers to it.

        Raises
        ------
        CrossfoldError
            If it does not.
        """
        if not (value := self.frames[0].header.get(keyword)):
            raise CrossfoldError(
                f"{self.name}: {keyword} is missing; a segmentation cannot refer to it",
                remedy="export the original series, or convert it to NIfTI (dcm2niix)",
            )
        return str(value)

    def require_references(self) -> None:
        """Make sure that a segmentation can refer to the series.

        Raises
        ------
        CrossfoldError
            If it cannot.
        """
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
            self.required(keyword)

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
        return _is_slice(self.header)

    @property
    def title(self) -> str:
        """Modality, description, size and a file, for messages."""
        parts = (self.header.get("Modality"), self.header.get("SeriesDescription"))
        size = f"{len(self.paths)} files" if len(self.paths) > 1 else self.paths[0].name
        return f"{' '.join(str(part) for part in parts if part)} ({size})"


def find_series(folder: Path) -> list[Files]:
    """Return what a folder and its subfolders hold, by series, in the order of first files.

    What bears the identifier of a series and is none of its slices counts for itself.

    Raises
    ------
    CrossfoldError
        If a DICOM file cannot be read.
    """
    found: dict[tuple[str, bool], list[tuple[Path, Dataset]]] = {}
    for path in dicom_files(folder):
        header = read_header(path)
        if _is_slice(header) and not header.get("SeriesInstanceUID"):
            raise _damaged(path, "it has no SeriesInstanceUID")
        key = (str(header.get("SeriesInstanceUID", path)), _is_slice(header))
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
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, EOFError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    # A table of contents is called DICOMDIR by convention only.
    kind = header.file_meta.get("MediaStorageSOPClassUID")
    if "SOPClassUID" not in header and kind != uid.MediaStorageDirectoryStorage:
        raise _damaged(path, "it does not say what it is")
    return header


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
    try:
        return _read_series(source)
    except (CrossfoldError, MemoryError, OSError):
        raise
    except Exception as error:  # values are decoded when asked for, and each VR fails in its way
        raise _damaged(source if isinstance(source, Path) else source[0], error) from error


def _read_series(source: Path | Sequence[Path]) -> Series:
    if isinstance(source, Path):
        if not source.exists():
            raise CrossfoldError(f"{source}: no such folder", remedy="correct the path")
        if source.is_file():
            return _read_series([source])
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
        known = headers.setdefault(str(header.get("SOPInstanceUID", path)), (header, path))
        if header.get("ImagePositionPatient") != known[0].get("ImagePositionPatient"):
            raise CrossfoldError(
                f"{name}: {known[1].name} and {path.name} lie in different places, but have one "
                "SOPInstanceUID",
                remedy="export the series again: this was lost where it was anonymised or changed",
            )
    _check_one_series(headers.values(), name)
    frames, affine = stack([f for each in headers.values() for f in frames_of(*each)], name)
    nifti = nib.Nifti1Header()
    nifti.set_xyzt_units("mm")
    shape = (frames[0].header.Columns, frames[0].header.Rows, len(frames))
    array = np.empty(shape, dtype=np.float32)
    by_file = sorted(enumerate(frames), key=lambda item: (item[1].file, item[1].index))
    for file, slices in groupby(by_file, key=lambda item: item[1].file):
        pixels, planes = read_pixels(file), list(slices)
        if len(pixels) != len(planes):
            raise _damaged(file, f"{len(pixels)} slices, and places for {len(planes)}")
        for z, frame in planes:
            slope, intercept = _rescaling(frame)
            array[..., z] = (pixels[frame.index] * slope + intercept).T
    return Series(name, tuple(frames), Image(array, _LPS_TO_RAS @ affine, nifti))


def _check_one_series(headers: Collection[tuple[Dataset, Path]], name: str) -> None:
    if len({header.get("SeriesInstanceUID") for header, _ in headers}) > 1:
        raise CrossfoldError(
            f"{name}: mixed series: the files have several SeriesInstanceUIDs",
            remedy="give the files of one series",
        )
    for header, path in headers:
        if not _is_slice(header):
            parts = [header.get("Modality", "?"), *(header.get("ImageType") or ())]
            raise CrossfoldError(
                f"{name}: {path.name} is no slice of CT, MR or PET but {' '.join(map(str, parts))}",
                remedy="give the folder of the axial, sagittal or coronal slices",
            )


def _is_slice(header: Dataset) -> bool:
    """Whether it is of a volume; localizers, pictures and structures are not."""
    is_localizer = "LOCALIZER" in (header.get("ImageType") or ())
    return header.get("SOPClassUID") in IMAGES and not is_localizer


def _rescaling(frame: Frame) -> tuple[float, float]:
    """Return slope and intercept from stored values to the unit of the modality."""
    slope = frame.value("PixelValueTransformationSequence", "RescaleSlope")
    intercept = frame.value("PixelValueTransformationSequence", "RescaleIntercept")
    if slope is None and frame.header.get("Modality") == "CT":
        raise CrossfoldError(
            f"{frame.file}: a CT without RescaleSlope, so that its Hounsfield units are unknown",
            remedy="export the original series",
        )
    found = (1.0 if slope is None else float(slope)), float(intercept or 0)
    if not np.isfinite(found).all():
        raise _damaged(frame.file, f"rescale slope and intercept are {found[0]} and {found[1]}")
    return found


def read_pixels(file: Path) -> NDArray:
    """Read the stored values of a file: (frame, row, column).

    Raises
    ------
    CrossfoldError
        If they are damaged, are in colour, or are compressed in a way that is not decoded here.
    """
    dataset = pydicom.dcmread(file)
    syntax = dataset.file_meta.get("TransferSyntaxUID", uid.ImplicitVRLittleEndian)
    if syntax.is_compressed:
        _require_decoder(syntax, file)
    try:
        pixels = dataset.pixel_array
    except (AttributeError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        remedy = "copy it again from its source"
        if syntax.is_compressed:
            remedy += f"; if it is whole, {_DECOMPRESS}, or: {_INSTALL_GDCM}"
        raise CrossfoldError(
            f"{file}: its pixels cannot be read ({syntax.name}: {error})", remedy=remedy
        ) from error
    if dataset.get("SamplesPerPixel", 1) != 1:
        raise CrossfoldError(f"{file}: a picture in colour", remedy="give the original slices")
    return pixels.reshape(-1, *pixels.shape[-2:])


def _require_decoder(syntax: uid.UID, file: Path) -> None:
    """Name the package that a compression needs, where it is not there."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        remedy = _DECOMPRESS
    else:
        if decoder.is_available:
            return
        names = " ".join(decoder.missing_dependencies)
        install = _INSTALL_GDCM if "gdcm" in names else _INSTALL_OPENJPEG
        remedy = f"{install}; or {_DECOMPRESS}"
    raise CrossfoldError(
        f"{file}: is compressed as {syntax.name}, which nothing here decodes",
        remedy=remedy,
    )


def _damaged(file: Path, reason: object) -> CrossfoldError:
    return CrossfoldError(
        f"{file}: damaged or truncated ({reason})", remedy="copy it again from its source"
    )
