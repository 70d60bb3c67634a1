from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_header
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.checks import Finding, Grid, check_grids, check_voxels, refuse
from tests.unit.prediction.random_bundle import AFFINE, SHAPE, ct, write_random_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.read(write_random_bundle(tmp_path_factory.mktemp("bundle") / "model"))


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "model"
    return Bundle.read(write_random_bundle(folder, channels=("ct", "pet")))


def grid(shape: tuple[int, ...] = SHAPE, affine: NDArray = AFFINE) -> Grid:
    return Grid(shape, affine)


def voxels(bundle: Bundle, array: NDArray) -> list[Finding]:
    return check_voxels({"ct": Image(array, AFFINE, nib.Nifti1Header())}, bundle)


def test_an_image_like_those_of_the_training_gives_no_finding(bundle: Bundle) -> None:
    assert check_grids({"ct": grid()}, bundle) == []
    assert voxels(bundle, ct()) == []


def test_any_orientation_is_one_of_the_training(bundle: Bundle) -> None:
    turned = np.array([[0, 0, 2.0, 0], [-2.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 0, 1]])
    assert check_grids({"ct": grid((20, 12, 24), turned)}, bundle) == []


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((24, 20), "2-D"),
        ((24, 20, 1), "2-D"),
        ((24, 20, 12, 3), "3 volumes"),
        ((24, 20, 0), "no voxel"),
        ((2, 3, 4, 5, 6), "5-D"),
    ],
)
def test_an_image_that_is_no_volume_is_refused(
    bundle: Bundle, shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(CrossfoldError, match=told):
        refuse(check_grids({"ct": grid(shape)}, bundle))


@pytest.mark.parametrize("affine", [np.diag([0.0, 2, 3, 1]), np.full((4, 4), np.nan)])
def test_an_affine_that_leads_nowhere_is_refused(bundle: Bundle, affine: NDArray) -> None:
    with pytest.raises(CrossfoldError, match="cannot be inverted"):
        refuse(check_grids({"ct": grid(affine=affine)}, bundle))


def test_axes_that_a_file_does_not_name_are_a_warning(bundle: Bundle, tmp_path: Path) -> None:
    nifti = nib.Nifti1Image(ct(), None)
    nifti.header.set_zooms((2, 2, 3))
    nib.save(nifti, tmp_path / "ct.nii.gz")
    found = check_grids({"ct": Grid.of(read_header(tmp_path / "ct.nii.gz"))}, bundle)
    assert [(f.severity, f.check) for f in found] == [("warning", "orientation")]


def test_tilted_and_sheared_axes_are_a_warning(bundle: Bundle) -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    tilt = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    tilted = check_grids({"ct": grid(affine=tilt @ AFFINE)}, bundle)
    assert ["tilted by 23 degrees" in str(f) for f in tilted] == [True]
    shear = AFFINE.copy()
    shear[0, 1] = 0.4
    assert ["shear" in str(f) for f in check_grids({"ct": grid(affine=shear)}, bundle)] == [True]


def test_channels_on_different_grids_are_refused(two_channels: Bundle) -> None:
    other = {"shape": (24, 20, 11), "place": SHAPE}
    moved = AFFINE.copy()
    moved[2, 3] = 5
    for shape, affine, told in [
        (other["shape"], AFFINE, "24 x 20 x 11 voxels"),
        (SHAPE, moved, "5.0 mm away"),
    ]:
        findings = check_grids({"ct": grid(), "pet": grid(shape, affine)}, two_channels)
        with pytest.raises(CrossfoldError, match=told):
            refuse(findings)


@pytest.mark.parametrize(
    ("factor", "severity"), [(1.2, None), (2, "warning"), (0.4, "warning"), (0.001, "error")]
)
def test_voxel_sizes_are_those_of_the_training(
    bundle: Bundle, factor: float, severity: str | None
) -> None:
    affine = AFFINE @ np.diag([1, 1, factor, 1])
    # The same field of view.
    found = check_grids({"ct": grid((24, 20, round(12 / factor)), affine)}, bundle)
    expected = [(severity, "spacing")] if severity else []
    assert [(f.severity, f.check) for f in found] == expected
    assert all("superior" in f.message for f in found)


def test_a_field_of_view_that_was_not_in_the_training_is_a_warning(bundle: Bundle) -> None:
    found = check_grids({"ct": grid((24, 20, 36))}, bundle)
    assert [(f.severity, f.check) for f in found] == [("warning", "field_of_view")]
    assert found[0].message == "108 mm along superior (training: 36 mm)"


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.where(ct() > 100, np.nan, ct()), "NaN or infinite"),
        (np.where(ct() > 100, np.inf, ct()), "NaN or infinite"),
        (np.zeros(SHAPE, np.float32), "every voxel of ct is 0"),
        (np.full(SHAPE, 7, np.float32), "every voxel of ct is 7"),
        (ct() + 1024, "without the offset of 1024"),
        ((ct() + 1000) / 2200, "normalised"),
    ],
)
def test_voxels_that_mean_something_else_are_refused(
    bundle: Bundle, array: NDArray, told: str
) -> None:
    with pytest.raises(CrossfoldError, match=told):
        refuse(voxels(bundle, array))


def test_a_check_can_be_accepted(bundle: Bundle) -> None:
    found = voxels(bundle, ct() + 1024)
    refuse(found, accepted=["intensity"])
    with pytest.raises(CrossfoldError, match="offset"):
        refuse(found, accepted=["spacing"])


def test_ct_without_air_and_with_metal_is_no_error(bundle: Bundle) -> None:
    """What is cropped to the body has no air, and a prosthesis has 3000 HU and more."""
    inside = ct()[4:-4, 4:-4, 2:-2]
    refuse(voxels(bundle, inside))
    metal = ct()
    metal[10:14, 8:12, 4:8] = 3071
    found = voxels(bundle, metal)
    refuse(found)
    assert [f.severity for f in found] == ["warning"]


def test_intensities_without_a_unit_are_not_compared(tmp_path: Path) -> None:
    normalisation = {"spacing_mm": "median", "normalisation": {"method": "z_score"}}
    folder = write_random_bundle(tmp_path / "model", preprocessing=normalisation)
    assert voxels(Bundle.read(folder), ct() * 1e-5) == []


def test_another_unit_along_all_axes_is_refused(bundle: Bundle) -> None:
    """An image in cm is 10 times too small; one axis alone may well differ by that."""
    in_cm = AFFINE @ np.diag([0.1, 0.1, 0.1, 1])
    with pytest.raises(CrossfoldError, match=r"voxels of 0\.2 mm along right") as refused:
        refuse(check_grids({"ct": grid(affine=in_cm)}, bundle))
    assert str(refused.value).count("spacing") == 1
    thin = AFFINE @ np.diag([1, 1, 0.1, 1])
    refuse(check_grids({"ct": grid((24, 20, 120), thin)}, bundle))


def test_a_label_map_is_no_image(tmp_path: Path) -> None:
    """Where intensities have no unit, nothing else would tell."""
    normalisation = {"spacing_mm": "median", "normalisation": {"method": "z_score"}}
    bundle = Bundle.read(write_random_bundle(tmp_path / "model", preprocessing=normalisation))
    with pytest.raises(CrossfoldError, match="looks like a label map"):
        refuse(voxels(bundle, (ct() > 0).astype(np.float32)))


def test_what_is_no_ct_is_not_told_to_become_one(bundle: Bundle) -> None:
    with pytest.raises(CrossfoldError, match="or is no CT"):
        refuse(voxels(bundle, ct() + 1024))
    eight_bits = np.clip((ct() + 1000) / 2000 * 255, 0, 255)
    with pytest.raises(CrossfoldError, match="another unit"):
        refuse(voxels(bundle, eight_bits))
