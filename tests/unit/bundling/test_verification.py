from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossfold.bundling.verification import Expected, verify_bundle
from crossfold.errors import CrossfoldError
from crossfold.images import read_labels, write_image
from crossfold.paths import subject_file
from tests.small_run import TEST, small_run


def test_a_clean_process_gives_what_the_pipeline_gave_or_the_voxel_is_named(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    run.predict()
    segmentation = subject_file(tmp_path / "segmentations", TEST)
    expected = Expected(
        subject=TEST,
        images={"ct": run.dataset.image(TEST, "ct")},
        mask=None,
        folds=[0, 1],
        posterior=subject_file(tmp_path / "posteriors", TEST),
        segmentation=segmentation,
    )
    proof = tmp_path / "model_verified.json"
    verify_bundle(run.bundle(), expected, proof, device="cpu")
    content = json.loads(proof.read_text("utf-8"))
    assert content["differing_voxels"] == {"posterior": 0, "segmentation": 0}
    assert content["other_versions"] == []
    proof.unlink()

    labels = read_labels(segmentation)
    altered = labels.array.astype("uint8")
    altered[1, 2, 3] = 7
    write_image(segmentation, altered, labels)
    message = rf"segmentation of {TEST}: 1 of 1512 values differ.*\(1, 2, 3\): \d, not 7"
    with pytest.raises(CrossfoldError, match=message):
        verify_bundle(run.bundle(), expected, proof, device="cpu")
    assert not proof.exists()
