from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossfold.errors import CrossfoldError
from crossfold.images import (
    Image,
    atomic_directory,
    atomic_path,
    ras_geometry,
    read_header,
    read_image,
    read_labels,
    read_posterior,
    write_image,
    write_posterior,
)

# Voxel axes point to anterior, left and superior.
AFFINE = np.array([[0, -2.0, 0, 40], [1.5, 0, 0, -20], [0, 0, 3.0, 7], [0, 0, 0, 1]])


def save(path: Path, array: NDArray, affine: NDArray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    nifti = nib.Nifti1Image(array, AFFINE)
    nifti.header["descrip"] = b"of the scanner"
    nifti.header.set_xyzt_units("mm", "sec")
    nifti.set_qform(AFFINE, code=1)
    nifti.set_sform(AFFINE, code=1)
    nib.save(nifti, tmp_path / "source.nii.gz")
    return tmp_path / "source.nii.gz"


def test_a_label_map_keeps_grid_and_header_of_its_source(source: Path, tmp_path: Path) -> None:
    image = read_image(source)
    labels = (image.array > 0).astype(np.uint8) * 3
    write_image(tmp_path / "labels.nii.gz", labels, image)
    written = nib.load(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(written.get_fdata(), labels)
    np.testing.assert_array_equal(written.affine, nib.load(source).affine)
    assert written.get_data_dtype() == np.uint8
    assert written.header["descrip"] == b"of the scanner"
    assert written.header.get_xyzt_units() == ("mm", "sec")
    assert (written.header["qform_code"], written.header["sform_code"]) == (1, 1)


def test_a_posterior_comes_back_as_it_was(source: Path, tmp_path: Path) -> None:
    image = read_image(source)
    posterior = np.random.default_rng(1).integers(0, 256, (4, 5, 6, 2), dtype=np.uint8)
    write_posterior(tmp_path / "posterior.nii.gz", posterior, image)
    np.testing.assert_array_equal(read_posterior(tmp_path / "posterior.nii.gz").array, posterior)
    seen = nib.load(tmp_path / "posterior.nii.gz").get_fdata()
    np.testing.assert_allclose(seen, posterior / 255, atol=1e-7)


def test_an_image_is_no_posterior(source: Path) -> None:
    with pytest.raises(CrossfoldError, match="not a posterior of Crossfold"):
        read_posterior(source)


def test_the_same_array_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    image = read_image(source)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "a.nii.gz", np.ones((4, 5, 6), np.uint8), image)
    files = [tmp_path / name / "a.nii.gz" for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_to_ras_moves_every_voxel_to_its_place_in_space(source: Path) -> None:
    image = read_image(source)
    ras = image.to_ras()
    assert nib.aff2axcodes(ras.affine) == ("R", "A", "S")
    assert ras.array.shape == (5, 4, 6)
    voxel = (1, 3, 2)
    place = image.affine @ [*voxel, 1]
    there = np.rint(np.linalg.solve(ras.affine, place))[:3].astype(int)
    assert ras.array[tuple(there)] == image.array[voxel]
    shape, spacing_mm = ras_geometry(read_header(source))
    assert shape == ras.array.shape
    assert spacing_mm == ras.spacing_mm == pytest.approx((2.0, 1.5, 3.0))


@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_from_ras_undoes_to_ras(axes: list[int], signs: tuple[int, ...]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.0, 2.0, 3.0])[:, axes] * signs
    image = Image(np.arange(24.0).reshape(2, 3, 4), affine, nib.Nifti1Header())
    np.testing.assert_array_equal(image.from_ras(image.to_ras().array), image.array)
    channels = np.stack([image.to_ras().array] * 2, axis=-1)
    np.testing.assert_array_equal(image.from_ras(channels)[..., 1], image.array)


def test_a_volume_of_a_4d_image(tmp_path: Path) -> None:
    array = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 2)
    path = save(tmp_path / "four.nii.gz", array)
    np.testing.assert_array_equal(read_image(path, volume=1).array, array[..., 1])
    with pytest.raises(CrossfoldError, match="4 dimensions, 3 are needed"):
        read_image(path)
    with pytest.raises(CrossfoldError, match="four"):
        read_image(path, volume=2)


def test_a_fourth_axis_of_length_1_is_dropped(tmp_path: Path) -> None:
    path = save(tmp_path / "one.nii.gz", np.ones((2, 3, 4, 1), np.float32))
    assert read_image(path).array.shape == (2, 3, 4)


def test_integers_stored_as_floats_are_labels(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.nii.gz", np.full((2, 2, 2), 2.0, np.float32))
    assert read_labels(whole).array.dtype == np.int32
    halves = save(tmp_path / "halves.nii.gz", np.full((2, 2, 2), 0.5, np.float32))
    with pytest.raises(CrossfoldError, match=r"halves.*not integers"):
        read_labels(halves)


def truncated(path: Path) -> None:
    save(path, np.random.default_rng(0).normal(size=(32, 32, 32)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN = {
    "truncated": (truncated, "damaged or truncated"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text": (lambda path: path.write_text("not found"), "not readable as NIfTI"),
    "missing": (Path.unlink, "no such file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named(source: Path, case: str) -> None:
    damage, message = BROKEN[case]
    damage(source)
    with pytest.raises(CrossfoldError, match=message) as raised:
        read_image(source)
    assert str(source) in raised.value.message
    assert raised.value.remedy


def test_another_format_is_named(tmp_path: Path) -> None:
    path = tmp_path / "image.mgz"
    nib.save(nib.MGHImage(np.zeros((2, 2, 2), np.float32), np.eye(4)), path)
    with pytest.raises(CrossfoldError, match="MGHImage, not NIfTI"):
        read_image(path)


class StopError(Exception):
    """Something that goes wrong while a file is written."""


def write_half(path: Path) -> None:
    with atomic_path(path) as part:
        part.write_text("half")
        raise StopError


def fill_half(path: Path) -> None:
    with atomic_directory(path) as part:
        (part / "half").touch()
        raise StopError


def test_a_failure_leaves_neither_file_nor_part(tmp_path: Path) -> None:
    with pytest.raises(StopError):
        write_half(tmp_path / "folder" / "a.csv")
    assert not list((tmp_path / "folder").iterdir())


def test_a_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    with pytest.raises(StopError):
        write_half(tmp_path / "a.csv")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_part_has_the_suffix_of_its_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.nii.gz") as part:
        assert part.name.endswith("a.nii.gz")
        assert part.parent == tmp_path
        part.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]


def test_a_mount_that_cannot_rename_gets_the_file_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    (tmp_path / "state.pt").write_text("old")
    monkeypatch.setattr(os, "replace", refuse)
    with atomic_path(tmp_path / "state.pt") as part:
        part.write_text("new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("state.pt", "new")]


def test_a_directory_appears_whole_and_replaces_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "old").touch()
    (tmp_path / ".part-maps").mkdir()  # what a killed process has left
    (tmp_path / ".part-maps" / "stale").touch()
    with atomic_directory(tmp_path / "maps") as part:
        (part / "new").touch()
        assert (tmp_path / "maps" / "old").exists()
    assert [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")] == [
        "maps",
        "maps/new",
    ]
    with pytest.raises(StopError):
        fill_half(tmp_path / "maps")
    assert [file.name for file in tmp_path.rglob("*")] == ["maps", "new"]


def limit_files_to_4_kb() -> None:
    # The kernel then refuses to write on, as on a full disk; the signal would end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


WRITE_MUCH = """
import sys
import numpy as np, nibabel as nib
from crossfold.images import Image, atomic_directory, write_image
noise = np.random.default_rng(0).integers(0, 255, (64, 64, 64), dtype=np.uint8)
with atomic_directory(sys.argv[1]) as folder:
    write_image(folder / "a.nii.gz", noise, Image(noise, np.eye(4), nib.Nifti1Header()))
"""


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_MUCH, str(tmp_path / "maps")],
        cwd=Path(__file__).parents[2],
        preexec_fn=limit_files_to_4_kb,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []
