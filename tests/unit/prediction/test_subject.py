from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossfold.errors import CrossfoldError
from crossfold.images import read_labels, read_posterior
from crossfold.paths import subject_file
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.subject import EnsemblePredictor
from tests.small_run import STRUCTURES, TEST, SmallRun, small_run

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "the default": {},
    "the spacing of each image along an axis, mirrored, smoothed": {
        "preprocessing": {"spacing_mm": [2.5, None, 4]},
        "inference": {"mirror_axes": ["x"], "window": "image"},
        "training": {"augmentation": {"mirror_axes": ["x"], "mirror_pairs": [STRUCTURES]}},
        "postprocessing": {"smoothing_mm": 2, "largest_component": ["left"]},
    },
    "two channels and a mask": {
        "images": ["ct", "pet"],
        "preprocessing": {"mask": "body", "normalisation": {"method": "z_score"}},
        "derived_structures": {"both": STRUCTURES},
        "ensemble_aggregation": "staple",
    },
    "geometric mean": {"ensemble_aggregation": "log_average"},
}


def images_of(run: SmallRun) -> dict[str, Any]:
    return {channel: run.dataset.image(TEST, channel) for channel in run.model.images}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_ensemble_gives_what_the_pipeline_gives(name: str, tmp_path: Path) -> None:
    run = small_run(tmp_path, **CONFIGURATIONS[name])
    run.predict()
    mask = run.model.preprocessing.mask
    predictor = EnsemblePredictor(Bundle.read(run.bundle()), threads=1)
    found = predictor.predict(images_of(run), run.dataset.label_map(TEST, [mask]) if mask else None)
    segmentation = read_labels(subject_file(tmp_path / "segmentations", TEST))
    assert len(np.unique(segmentation.array)) > 1
    np.testing.assert_array_equal(found.segmentation, segmentation.array)
    np.testing.assert_array_equal(found.like.affine, segmentation.affine)
    for folder in ("uncertainty", "disagreement"):
        expected = read_posterior(subject_file(tmp_path / folder, TEST)).array[..., 0]
        np.testing.assert_array_equal(getattr(found, folder), expected)
    posterior = read_posterior(subject_file(tmp_path / "posteriors", TEST)).array
    np.testing.assert_array_equal(found.posterior, posterior)


@pytest.mark.parametrize("aggregation", ["average", "log_average"])
def test_one_member_gives_what_its_fold_gives(aggregation: str, tmp_path: Path) -> None:
    run = small_run(tmp_path, ensemble_aggregation=aggregation)
    run.predict()
    bundle = Bundle.read(run.bundle())
    found = EnsemblePredictor(bundle, folds=[1], threads=1).predict(images_of(run))
    expected = read_posterior(subject_file(tmp_path / "1/posteriors/test", TEST))
    np.testing.assert_array_equal(found.posterior, expected.array)
    labels = read_labels(subject_file(tmp_path / "1/segmentations/test", TEST))
    np.testing.assert_array_equal(found.segmentation, labels.array)
    assert not found.disagreement.any()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run(tmp_path_factory.mktemp("run"), derived_structures={"both": STRUCTURES})


@pytest.fixture(scope="module")
def bundle(run: SmallRun) -> Bundle:
    return Bundle.read(run.bundle())


def test_volumes_are_those_of_the_segmentation(run: SmallRun, bundle: Bundle) -> None:
    done = []
    predictor = EnsemblePredictor(bundle, progress=lambda *counts: done.append(counts))
    found = predictor.predict(images_of(run))
    volumes = found.volumes_ml().set_index("structure")["volume_ml"]
    voxel_ml = found.like.voxel_volume_ml
    for value, name in enumerate(STRUCTURES, start=1):
        assert volumes[name] == pytest.approx((found.segmentation == value).sum() * voxel_ml)
    assert volumes["both"] == pytest.approx(volumes["left"] + volumes["right"])
    assert done == [(1, 2), (2, 2)]


def test_a_member_that_is_not_there_is_named(bundle: Bundle) -> None:
    with pytest.raises(CrossfoldError, match=r"has no member 7\n.*choose from 0, 1"):
        EnsemblePredictor(bundle, folds=[0, 7])


def test_a_missing_channel_is_named(bundle: Bundle) -> None:
    with pytest.raises(CrossfoldError, match="needs the images ct, but there is no ct"):
        EnsemblePredictor(bundle).predict({})
