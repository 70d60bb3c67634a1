from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crossfold.errors import CrossfoldError
from crossfold.paper.viewer.study import NO_TEST_SET, Study
from tests.browser.tiny_run import AWKWARD, SIZE, STRUCTURES, make_run


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study.read(make_run(tmp_path_factory.mktemp("study"), subjects=8, test=2))


def volume(study: Study, name: str, kind: str) -> nib.Nifti1Image:
    position = [subject.name for subject in study.subjects].index(name)
    return nib.Nifti1Image.from_bytes(gzip.decompress(study.volume(position, kind)))


def test_the_test_set_comes_first_and_nobody_is_shown_by_a_network_that_knows_them(
    study: Study,
) -> None:
    assert [subject.split for subject in study.subjects] == ["test"] * 2 + ["val"] * 6
    assert {subject.fold for subject in study.subjects[:2]} == {"ensemble"}
    assert study.subjects[0].name == AWKWARD


def test_the_listing_is_json_without_nan_and_infinity(study: Study) -> None:
    listing = json.loads(json.dumps(study.listing, allow_nan=False))
    missed = listing["subjects"][1]["structures"][1]
    assert missed == {
        "structure": STRUCTURES[1],
        "state": "missed",
        "dice": 0.0,
        "nsd": 0.0,
        "hd95_mm": "inf",
    }
    assert listing["synthetic"] is True
    assert listing["note"] == ""


@pytest.mark.parametrize("kind", ["image-0", "image-1", "reference", "prediction", "uncertainty"])
def test_volumes_are_on_the_grid_of_their_source(study: Study, kind: str) -> None:
    shown = volume(study, AWKWARD, kind)
    assert shown.shape == (SIZE, SIZE, SIZE)
    np.testing.assert_allclose(shown.affine, np.diag([-1, 1, 2, 1]))


def test_every_channel_of_a_4d_file_is_its_own_volume(study: Study) -> None:
    first, second = (volume(study, AWKWARD, f"image-{i}").get_fdata() for i in (0, 1))
    np.testing.assert_allclose(first, -second)


def test_labels_stay_labels(study: Study) -> None:
    for kind in ("reference", "prediction"):
        assert set(np.unique(volume(study, "case_003", kind).get_fdata())) == {0, 1, 2}


def test_uncertainty_out_of_fold_is_the_entropy_of_the_posterior(study: Study) -> None:
    shown = volume(study, "case_003", "uncertainty").get_fdata()
    # 180 of 255 for one structure, the rest for background, over log 3.
    p = 180 / 255
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p)) / np.log(3)
    assert shown.max() == pytest.approx(expected, abs=0.51 / 255)  # a byte
    assert shown.min() == 0


@pytest.mark.parametrize(
    ("position", "kind"), [(99, "reference"), (-1, "reference"), (0, "secret")]
)
def test_nothing_else_is_a_volume(study: Study, position: int, kind: str) -> None:
    with pytest.raises(LookupError, match="has no volume"):
        study.volume(position, kind)


def test_without_a_test_set_subjects_out_of_fold_are_shown_and_the_note_says_so(
    tmp_path: Path,
) -> None:
    listing = Study.read(make_run(tmp_path, subjects=6, test=0)).listing
    assert listing["note"] == NO_TEST_SET
    assert {subject["split"] for subject in listing["subjects"]} == {"val"}


def test_without_its_maps_a_subject_has_no_uncertainty(tmp_path: Path) -> None:
    results = make_run(tmp_path, subjects=6, test=2)
    shutil.rmtree(results / "ensemble" / "uncertainty")
    study = Study.read(results)
    assert study.listing["subjects"][0]["uncertainty"] is False
    with pytest.raises(LookupError, match="no map of uncertainty"):
        study.volume(0, "uncertainty")


def test_missing_results_dataset_and_segmentations_are_said(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="no results of a model"):
        Study.read(tmp_path / "results" / "Nothing")
    results = make_run(tmp_path, subjects=6, test=2)
    for folder in ("ensemble", "folds"):
        shutil.rmtree(results / folder)
    with pytest.raises(CrossfoldError, match="no segmentation of any subject"):
        Study.read(results)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(CrossfoldError, match="is not on this machine"):
        Study.read(results)
