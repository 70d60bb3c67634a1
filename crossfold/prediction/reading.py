"""Headers and voxels of what is to be predicted; files that cannot hold what they say are refused.

`crossfold.images` reads what the checks of a dataset have passed; here, a file comes from anywhere.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError

from crossfold.data import dicom
from crossfold.data.dataset import structure_mask
from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_header, read_image
from crossfold.prediction.checks import Grid
from crossfold.prediction.inputs import Source, Subject

# No byte of deflate becomes more than these (https://zlib.net/zlib_tech.html).
_MOST_BYTES_OF_ONE = 1032
_CHUNK = 2**20
_AGAIN = "copy it again from its source"


@dataclass(frozen=True)
class Channels:
    """The images of a subject, with the series where they are DICOM."""

    images: dict[str, Image]
    series: Any

    @property
    def grids(self) -> dict[str, Grid]:
        """Where they lie."""
        return {name: Grid.of(image) for name, image in self.images.items()}


def grids_of(subject: Subject) -> dict[str, Grid]:
    """Return the grids of a subject's channels without reading a voxel.

    Raises
    ------
    CrossfoldError
        If a file is no image, or its header promises what the file cannot hold.
    """
    return {
        name: Grid.of(_header(source), volume=source.volume)
        for name, source in subject.channels.items()
    }


def read_channels(subject: Subject, first: str) -> Channels:
    """Read the channels of a subject.

    Parameters
    ----------
    first
        The channel on whose grid is written, and so in whose series if it is DICOM.

    Raises
    ------
    CrossfoldError
        If a file is damaged: compressed ones are read to their checksum.
    """
    images, series = {}, None
    for channel, source in subject.channels.items():
        if source.is_series:
            found = dicom.read_series(source.path)
            found.require_references()
            images[channel] = _as_stored(found.image)
            series = found if channel == first else series
        else:
            images[channel] = _read_image(source)
            _require_intact(source.path)
    return Channels(images, series)


def read_mask(read: Channels, subject: Subject, name: str | None) -> Image | None:
    """Return the mask of a subject, 1 inside; None for a model without one.

    Parameters
    ----------
    name
        Channel of the mask.
    """
    if name is None or name not in read.images:
        return None
    image = read.images[name]
    inside = structure_mask(image.array, subject.channels[name].label)
    return replace(image, array=inside.astype(np.float32))


def _read_image(source: Source) -> Image:
    try:
        return read_image(source.path, source.volume)
    except HeaderDataError as error:
        raise _damaged(source.path, error) from error


def _as_stored(image: Image) -> Image:
    """Return an image as NIfTI gives it back, which has 32 bits for a number of an affine.

    So a series is predicted as what was imported of it, and here as where only NIfTI is read.
    """
    return replace(image, affine=image.affine.astype(np.float32).astype(np.float64))


def _header(source: Source) -> nib.Nifti1Image:
    path = source.path
    if path.is_file() and path.stat().st_size:
        _require_sound(path)
    try:
        nifti = read_header(path)
    except HeaderDataError as error:
        raise _damaged(path, error) from error
    shape, volume = tuple(nifti.shape), source.volume
    if volume is not None and (len(shape) != 4 or volume >= shape[3]):
        count = shape[3] if len(shape) == 4 else 1
        raise CrossfoldError(
            f"{path}: there is no volume {volume}, it holds {count}",
            remedy="correct the column `volume` of dataset.csv: it counts from 0, and is empty for "
            "a 3-D file",
        )
    voxel = nifti.get_data_dtype()
    if voxel.kind not in "iuf":
        raise CrossfoldError(
            f"{path}: its voxels are {nifti.header.get_value_label('datatype')}, not grey values",
            remedy="convert it to one number for each voxel",
        )
    held = path.stat().st_size * (_MOST_BYTES_OF_ONE if _is_compressed(path) else 1)
    needed = math.prod(shape) * voxel.itemsize
    if needed > held:
        size = " x ".join(map(str, shape))
        raise CrossfoldError(
            f"{path}: damaged or truncated (its header says {size} voxels, {needed:,} bytes; the "
            f"file has {path.stat().st_size:,})",
            remedy=_AGAIN,
        )
    return nifti


def _require_sound(path: Path) -> None:
    """Refuse what nibabel passes over: voxels that begin in the header, or of size 0 (for 1 mm)."""
    try:
        with ImageOpener(str(path)) as file:
            header = nib.Nifti1Header.from_fileobj(file, check=False)
    except Exception:
        return  # whatever it is, `read_header` explains it
    if header["magic"] == b"n+1" and header["vox_offset"] < nib.Nifti1Header.single_vox_offset:
        raise CrossfoldError(
            f"{path}: its header says that voxels begin within it, at {header['vox_offset']:g}",
            remedy="correct vox_offset, or convert the image again",
        )
    if header["magic"] in (b"n+1", b"ni1") and not header["sform_code"]:
        sizes_mm = header["pixdim"][1:4]
        if (sizes_mm == 0).any():
            size = " x ".join(f"{size_mm:g}" for size_mm in sizes_mm)
            raise CrossfoldError(
                f"{path}: its header gives voxels of {size} mm", remedy="correct pixdim"
            )


def _require_intact(path: Path) -> None:
    """Read what is compressed to its end, where the checksum is: nibabel stops before it."""
    if not _is_compressed(path):
        return
    try:
        with gzip.open(path) as file:
            while file.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CrossfoldError:
    return CrossfoldError(f"{path}: damaged or truncated ({error})", remedy=_AGAIN)


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")
