from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crossfold.errors import CrossfoldError
from crossfold.prediction.inputs import Source, Subject
from crossfold.prediction.reading import grids_of, read_channels
from tests.unit.prediction.random_bundle import SHAPE, ct, save


def subject(path: Path, volume: int | None = None) -> Subject:
    return Subject("a", {"ct": Source(path, volume)})


def written(path: Path, change: Callable[[nib.Nifti1Header], None]) -> Path:
    """Write an image whose header says something else."""
    content = gzip.decompress(save(path, ct()).read_bytes())
    header = nib.Nifti1Header(content[:348])
    change(header)
    path.write_bytes(gzip.compress(header.binaryblock + content[348:]))
    return path


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nii.gz", lambda header: header.set_data_shape((10_000,) * 3))
    with pytest.raises(CrossfoldError, match="10000 x 10000 x 10000 voxels"):
        grids_of(subject(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [("datatype", 0), ("datatype", 1), ("datatype", 1536), ("vox_offset", -8), ("vox_offset", 0)],
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, key: str, value: float) -> None:
    path = written(tmp_path / "a.nii.gz", lambda header: header.__setitem__(key, value))
    with pytest.raises(CrossfoldError, match=r"a\.nii\.gz"):
        grids_of(subject(path))


def test_an_image_of_one_value_is_compressed_to_the_utmost(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.zeros((200, 200, 100), np.float32))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9))
    assert path.stat().st_size < 20_000
    assert grids_of(subject(path))["ct"].shape == (200, 200, 100)


@pytest.mark.parametrize("place", [-6, 0.5])
def test_an_altered_byte_is_found(tmp_path: Path, place: float) -> None:
    """In the checksum, and in the middle: nibabel reads either without a word."""
    path = save(tmp_path / "a.nii.gz", ct())
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if place == 0.5 else int(place)] ^= 1
    path.write_bytes(content)
    with pytest.raises(CrossfoldError, match="damaged or truncated"):
        read_channels(subject(path), "ct")


def test_voxels_without_a_size_are_refused(tmp_path: Path) -> None:
    def without_size(header: nib.Nifti1Header) -> None:
        header["sform_code"], header["qform_code"], header["pixdim"][1] = 0, 1, 0

    path = written(tmp_path / "a.nii.gz", without_size)
    with pytest.raises(CrossfoldError, match="voxels of 0 x 2 x 3 mm"):
        grids_of(subject(path))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]),
        ct().astype(np.complex64),
    ],
)
def test_colours_and_complex_numbers_are_no_grey_values(tmp_path: Path, array: np.ndarray) -> None:
    path = save(tmp_path / "a.nii.gz", array)
    with pytest.raises(CrossfoldError, match="not grey values"):
        grids_of(subject(path))


@pytest.mark.parametrize(("array", "volume"), [(ct(), 1), (np.stack([ct()] * 2, axis=-1), 2)])
def test_a_volume_that_is_not_there_is_refused(
    tmp_path: Path, array: np.ndarray, volume: int
) -> None:
    path = save(tmp_path / "a.nii.gz", array)
    with pytest.raises(CrossfoldError, match=f"no volume {volume}"):
        grids_of(subject(path, volume))


def test_the_first_channel_of_the_model_gives_the_series(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from tests.dicom_series import write_series

    for name in ("t1", "t2"):
        write_series(tmp_path / name, ct(), spacing_mm=(2.0, 2.0, 3.0), series=name)
    channels = {name: Source(tmp_path / name) for name in ("t2", "t1")}
    read = read_channels(Subject("a", channels), "t1")
    assert read.series.name == str(tmp_path / "t1")
    channels["t1"] = Source(save(tmp_path / "t1.nii.gz", ct()))
    assert read_channels(Subject("a", channels), "t1").series is None
