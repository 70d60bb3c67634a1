"""NIfTI in and out: geometry, orientation, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from crossfold.errors import CrossfoldError

_UNREADABLE = (
    nib.filebasedimages.ImageFileError,
    EOFError,
    OSError,
    ValueError,
    zlib.error,
)

# Probabilities are bytes on disk, as in InnerEye: 255 is 1.
POSTERIOR_SCALE = 255


@dataclass(frozen=True)
class Image:
    """An array on its grid.

    Parameters
    ----------
    array
        Voxels in nibabel order, (x, y, z), or (x, y, z, channel) for a posterior.
    affine
        4 x 4, voxel indices to mm.
    header
        Header of the file that the array came from.
    """

    array: NDArray
    affine: NDArray[np.float64]
    header: nib.Nifti1Header

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z in mm."""
        x, y, z = nib.affines.voxel_sizes(self.affine)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def to_ras(self) -> Image:
        """The same image with axes pointing right, anterior and superior (no resampling)."""
        orientation = ornt_transform(io_orientation(self.affine), axcodes2ornt(("R", "A", "S")))
        array = apply_orientation(self.array, orientation)
        affine = self.affine @ inv_ornt_aff(orientation, self.array.shape[:3])
        return Image(np.ascontiguousarray(array), affine, self.header)

    def from_ras(self, array: NDArray) -> NDArray:
        """Bring an array on the RAS grid of this image back to the grid of the file."""
        ras, own = axcodes2ornt(("R", "A", "S")), io_orientation(self.affine)
        return np.ascontiguousarray(apply_orientation(array, ornt_transform(ras, own)))


def read_header(path: str | os.PathLike[str]) -> nib.Nifti1Image:
    """Open a NIfTI file without reading its voxels.

    Raises
    ------
    CrossfoldError
        If the file is missing, empty or not NIfTI.
    """
    path = Path(path)
    if not path.is_file():
        raise CrossfoldError(f"{path}: no such file", remedy="restore it or remove its row")
    if path.stat().st_size == 0:
        raise CrossfoldError(f"{path}: the file is empty", remedy="copy it again from its source")
    try:
        nifti = nib.load(path)
    except _UNREADABLE as error:
        raise CrossfoldError(
            f"{path}: not readable as NIfTI ({error})", remedy="copy it again from its source"
        ) from error
    if not isinstance(nifti, nib.Nifti1Image):
        raise CrossfoldError(
            f"{path}: is {type(nifti).__name__}, not NIfTI", remedy="convert it to .nii.gz"
        )
    return nifti


def ras_geometry(nifti: nib.Nifti1Image) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return shape and voxel size in mm along right, anterior, superior, without reading voxels."""
    axes = np.argsort(io_orientation(nifti.affine)[:, 0])
    spacing_mm = nib.affines.voxel_sizes(nifti.affine)
    return tuple(nifti.shape[axis] for axis in axes), tuple(float(spacing_mm[a]) for a in axes)


def read_image(path: str | os.PathLike[str], volume: int | None = None) -> Image:
    """Read a 3-D image, or one volume of a 4-D image, as float32.

    Parameters
    ----------
    path
        NIfTI file.
    volume
        Index along the fourth axis; None for a 3-D file.

    Returns
    -------
    Image
        float32 array (x, y, z).

    Raises
    ------
    CrossfoldError
        If the file cannot be read to its end or is not of the stated dimension.
    """
    nifti = read_header(path)
    try:
        data = nifti.dataobj[..., volume] if volume is not None else nifti.dataobj
        array = np.asarray(data, dtype=np.float32)
    except (*_UNREADABLE, IndexError) as error:
        raise _damaged(path, error) from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise CrossfoldError(
            f"{path}: has {array.ndim} dimensions, 3 are needed",
            remedy="name the volume of a 4-D file in the column `volume` of dataset.csv",
        )
    return Image(array, np.asarray(nifti.affine, dtype=np.float64), nifti.header)


def read_posterior(path: str | os.PathLike[str]) -> Image:
    """Read a posterior written by `write_posterior`.

    Returns
    -------
    Image
        uint8 array (x, y, z, structure) in units of 1 / `POSTERIOR_SCALE`.

    Raises
    ------
    CrossfoldError
        If the file cannot be read to its end, or is no posterior.
    """
    nifti = read_header(path)
    stored: Any = nifti.dataobj
    try:
        array = np.asarray(stored.get_unscaled())
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if array.dtype != np.uint8 or not np.isclose(stored.slope, 1 / POSTERIOR_SCALE):
        raise CrossfoldError(
            f"{path}: not a posterior of Crossfold (uint8, scale 1/{POSTERIOR_SCALE})",
            remedy="delete it, so that the next run predicts the subject again",
        )
    array = array if array.ndim == 4 else array[..., None]
    return Image(array, np.asarray(nifti.affine, dtype=np.float64), nifti.header)


def read_labels(path: str | os.PathLike[str]) -> Image:
    """Read a label map or binary mask; floats on disk are accepted when they hold integers.

    Returns
    -------
    Image
        int32 array (x, y, z).

    Raises
    ------
    CrossfoldError
        If the file cannot be read or holds values that are not integers.
    """
    image = read_image(path)
    labels = np.rint(image.array).astype(np.int32)
    if not np.array_equal(labels, image.array):
        raise CrossfoldError(
            f"{path}: a label map with values that are not integers",
            remedy="resample label maps with nearest neighbours, or threshold them",
        )
    return Image(labels, image.affine, image.header)


def write_image(path: str | os.PathLike[str], array: NDArray, like: Image) -> None:
    """Write an array in its own type on the grid of another image, with that image's header.

    Parameters
    ----------
    path
        Target, `.nii.gz`; appears whole or not at all.
    array
        (x, y, z) or (x, y, z, channel).
    like
        Image that gives affine and header.
    """
    _write(path, array, like, slope=None)


def write_posterior(
    path: str | os.PathLike[str], posterior: NDArray[np.uint8], like: Image
) -> None:
    """Write probabilities that are stored as bytes; viewers show them between 0 and 1.

    Parameters
    ----------
    path
        Target, `.nii.gz`; appears whole or not at all.
    posterior
        uint8 (x, y, z) or (x, y, z, structure) in units of 1 / `POSTERIOR_SCALE`.
    like
        Image that gives affine and header.
    """
    _write(path, posterior, like, slope=1 / POSTERIOR_SCALE)


def _write(path: str | os.PathLike[str], array: NDArray, like: Image, slope: float | None) -> None:
    header = like.header.copy()
    header.set_data_dtype(array.dtype)
    nifti = nib.Nifti1Image(array, like.affine, header)
    nifti.header.set_slope_inter(slope, 0 if slope else None)
    # The display range of the source image means nothing for what is written here.
    nifti.header["cal_min"], nifti.header["cal_max"] = 0, 0
    with atomic_path(path) as temporary:
        nib.save(nifti, temporary)


def _damaged(path: str | os.PathLike[str], error: Exception) -> CrossfoldError:
    return CrossfoldError(
        f"{path}: damaged or truncated ({error})", remedy="copy it again from its source"
    )


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`, renamed onto it on success and removed on failure.

    What a killed process leaves behind has always the same name, so that the next one replaces it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".part-{path.name}")
    try:
        yield temporary
        try:
            os.replace(temporary, path)
        except OSError:
            # Some mounts of object stores cannot rename; a file appears there when it is closed.
            shutil.copyfile(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary directory beside `path` that replaces it on success."""
    path = Path(path)
    temporary = path.with_name(f".part-{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
