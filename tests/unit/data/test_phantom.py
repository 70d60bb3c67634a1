from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import center_of_mass, label

from crossfold.config.splits import SplitsConfig
from crossfold.data.phantom import STRUCTURES, make_phantom, scan_phantom
from crossfold.data.splits import make_splits
from crossfold.errors import CrossfoldError
from crossfold.images import Image, read_image, read_labels

# Subject 10 is a second scan of subject 7.
NUMBERS = (1, 2, 3, 7, 10)
VOLUMES_ML = {
    "external": (7000, 16000),
    "femur_r": (70, 180),
    "femur_l": (70, 180),
    "rectum": (40, 120),
    "prostate": (20, 90),
    "bladder": (60, 400),
    "seminalvesicles": (5, 20),
}

Scan = tuple[Image, np.ndarray]


@pytest.fixture(scope="module")
def scans() -> dict[int, Scan]:
    return {number: scan_phantom(number, seed=0) for number in NUMBERS}


def mean_hu(scan: Scan, structure: str) -> float:
    image, labels = scan
    return float(image.array[labels == STRUCTURES[structure]].mean())


def centre_mm(scan: Scan, structure: str) -> np.ndarray:
    image, labels = scan
    return nib.affines.apply_affine(image.affine, center_of_mass(labels == STRUCTURES[structure]))


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_volumes_are_physiological(scans: dict[int, Scan], number: int, structure: str) -> None:
    image, labels = scans[number]
    volume_ml = (labels == STRUCTURES[structure]).sum() * image.voxel_volume_ml
    low, high = VOLUMES_ML[structure]
    assert low <= volume_ml <= high


@pytest.mark.parametrize("number", NUMBERS)
def test_organs_are_in_one_piece(scans: dict[int, Scan], number: int) -> None:
    _, labels = scans[number]
    # The two seminal vesicles may be apart.
    for structure in set(STRUCTURES) - {"seminalvesicles"}:
        parts, _ = label(labels == STRUCTURES[structure])
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.98 * sizes.sum(), structure


@pytest.mark.parametrize("number", NUMBERS)
def test_organs_lie_where_anatomy_puts_them(scans: dict[int, Scan], number: int) -> None:
    scan = scans[number]
    assert nib.aff2axcodes(scan[0].affine) == ("R", "A", "S")
    right, anterior, superior = range(3)
    prostate, bladder, rectum, vesicles, femur_r, femur_l = (
        centre_mm(scan, name)
        for name in ("prostate", "bladder", "rectum", "seminalvesicles", "femur_r", "femur_l")
    )
    # nibabel: "RAS+" means that x increases towards the patient's right.
    assert femur_r[right] > prostate[right] + 60
    assert femur_l[right] < prostate[right] - 60
    assert bladder[superior] > prostate[superior] + 15
    assert rectum[anterior] < prostate[anterior] - 15
    assert prostate[superior] < vesicles[superior] < bladder[superior]
    assert rectum[anterior] < vesicles[anterior] < bladder[anterior]


@pytest.mark.parametrize("number", NUMBERS)
def test_ct_numbers_are_low_in_contrast(scans: dict[int, Scan], number: int) -> None:
    image, labels = scans[number]
    assert image.array.dtype == np.int16
    assert labels.dtype == np.uint8
    assert image.array[labels == 0].mean() < -900
    assert mean_hu(scans[number], "femur_r") > 250
    assert 20 < mean_hu(scans[number], "prostate") < 60
    difference = mean_hu(scans[number], "prostate") - mean_hu(scans[number], "seminalvesicles")
    spread = image.array[labels == STRUCTURES["prostate"]].std()
    assert 0 < difference < 3 * spread


@pytest.mark.parametrize("number", NUMBERS)
def test_the_body_fits(scans: dict[int, Scan], number: int) -> None:
    _, labels = scans[number]
    assert not labels[[0, -1]].any()
    assert not labels[:, [0, -1]].any()


def test_three_institutions_have_three_grids(scans: dict[int, Scan]) -> None:
    assert [scans[number][0].spacing_mm for number in (1, 2, 3)] == [
        (4.0, 4.0, 5.0),
        (3.5, 3.5, 6.0),
        (4.5, 4.5, 4.0),
    ]


def test_a_repeated_scan_is_the_same_patient_on_another_day(scans: dict[int, Scan]) -> None:
    first, second, other = scans[7], scans[10], scans[1]

    def volume(scan: Scan, structure: str) -> int:
        return int((scan[1] == STRUCTURES[structure]).sum())

    assert first[0].spacing_mm == second[0].spacing_mm == other[0].spacing_mm
    assert volume(first, "prostate") == pytest.approx(volume(second, "prostate"), rel=0.03)
    assert volume(first, "prostate") != pytest.approx(volume(other, "prostate"), rel=0.03)
    assert volume(first, "bladder") != pytest.approx(volume(second, "bladder"), rel=0.03)
    noise = first[0].array.astype(float) - second[0].array
    assert noise[:8].std() > 5


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    images = tmp_path_factory.mktemp("phantom") / "images"
    return images, make_phantom(images, subjects=2, seed=0)


def test_files_hold_what_was_scanned(
    written: tuple[Path, pd.DataFrame], scans: dict[int, Scan]
) -> None:
    images, _ = written
    image, labels = scans[2]
    ct = read_image(images / "phantom_002_ct.nii.gz")
    np.testing.assert_array_equal(ct.array, image.array)
    np.testing.assert_allclose(ct.affine, image.affine)
    structures = read_labels(images / "phantom_002_structures.nii.gz")
    np.testing.assert_array_equal(structures.array, labels)
    assert structures.header.get_data_dtype() == np.uint8


def test_two_runs_write_the_same_bytes_whatever_the_number_of_subjects(
    written: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    images, rows = written
    again = make_phantom(tmp_path / "images", subjects=1, seed=0)
    pd.testing.assert_frame_equal(again, rows[rows["subject"] == "phantom_001"])
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == ["phantom_001_ct.nii.gz", "phantom_001_structures.nii.gz"]
    for name in names:
        assert (tmp_path / "images" / name).read_bytes() == (images / name).read_bytes()


def test_another_seed_draws_another_patient(scans: dict[int, Scan]) -> None:
    _, labels = scan_phantom(1, seed=1)
    assert not np.array_equal(labels, scans[1][1])


def test_rows_describe_every_file(written: tuple[Path, pd.DataFrame]) -> None:
    images, rows = written
    assert len(rows) == 2 * (1 + len(STRUCTURES))
    assert {images.parent / path for path in rows["filePath"]} == set(images.iterdir())
    labels = rows[rows["channel"] != "ct"].set_index(["subject", "channel"])["label"]
    assert labels["phantom_002"].astype(int).to_dict() == STRUCTURES
    assert (rows["group"] == "").all()
    assert list(rows["institutionId"].unique()) == ["phantom_a", "phantom_b"]


def test_repeated_scans_share_group_and_institution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfold.data.phantom._write_all", lambda *_: None)
    rows = make_phantom(tmp_path / "images", subjects=40, seed=0)
    subjects = rows.drop_duplicates("subject").rename(columns={"institutionId": "institution"})
    grouped = subjects[subjects["group"] != ""].groupby("group")
    assert grouped["subject"].agg(list).to_dict() == {
        f"phantom_{first:03d}": [f"phantom_{first:03d}", f"phantom_{first + 3:03d}"]
        for first in (7, 17, 27, 37)
    }
    assert (grouped["institution"].nunique() == 1).all()
    fewer = make_phantom(tmp_path / "images", subjects=30, seed=0)
    pd.testing.assert_frame_equal(fewer, rows[: len(fewer)])
    assert make_splits(subjects, SplitsConfig(seed=0)).test


def test_refuses_no_subjects(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="subjects = 0"):
        make_phantom(tmp_path / "images", subjects=0, seed=0)
