from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from crossfold.errors import CrossfoldError
from crossfold.images import Image
from crossfold.learning.networks import UNet
from crossfold.prediction.bundle import Bundle
from crossfold.prediction.memory import InFile, Need
from crossfold.prediction.sliding_window import Predictor
from crossfold.prediction.subject import EnsemblePredictor, SubjectPrediction
from tests.unit.prediction.random_bundle import AFFINE, ct, write_random_bundle

NEED = Need(
    channels=1,
    structures=7,
    members=5,
    source=(512, 512, 128),
    grid=(512, 512, 128),
    window=(64, 64, 32),
    aggregation="average",
    features=10**8,
    resident=4 * 10**8,
)


def predict(bundle: Bundle, image: Image, **options: object) -> SubjectPrediction:
    predictor = EnsemblePredictor(bundle, threads=1, **options)  # type: ignore[arg-type]
    return predictor.predict({"ct": image})


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 4.0), (2.0, 2.0, 3.0), (1.5, 1.7, 2.1)])
@pytest.mark.parametrize("mask", [None, "body"])
def test_posteriors_in_a_file_give_the_same_bytes(
    tmp_path: Path, spacing_mm: tuple[float, float, float], mask: str | None
) -> None:
    preprocessing = {
        "spacing_mm": spacing_mm,
        "normalisation": {"method": "ct_window"},
        "mask": mask,
    }
    folder = write_random_bundle(
        tmp_path / "model", spacing_mm=spacing_mm, preprocessing=preprocessing
    )
    bundle = Bundle.read(folder)
    image = Image(ct((52, 40, 20)), AFFINE, nib.Nifti1Header())
    inside = Image((image.array > -900).astype(np.int32), AFFINE, image.header) if mask else None
    images = {"ct": image}
    whole = EnsemblePredictor(bundle, threads=1)
    need = whole.need((52, 40, 20), (2.0, 2.0, 3.0))
    assert need.least_gb < need.whole_gb
    between = (need.least_gb + need.whole_gb) / 2
    tiled = EnsemblePredictor(bundle, threads=1, memory_gb=between, scratch=tmp_path)
    # Both were made by one process, which has grown meanwhile.
    tiled._resident = whole._resident
    assert tiled._file_folder(image) == tmp_path
    expected, found = (one.predict(images, inside) for one in (whole, tiled))
    for name in ("posterior", "segmentation", "uncertainty", "disagreement"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert expected.posterior.any()
    assert [file.name for file in tmp_path.iterdir()] == ["model"]  # the file has no name


def test_a_slab_is_finished_before_the_next_windows(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet(1, 3, channels=(4, 8)).eval()
    predictor = Predictor(
        network, divisor=(2, 2, 2), window=(8, 8, 8), overlap=0.5, batch_size=3, precision="fp32"
    )
    image = torch.randn(1, 21, 10, 9)
    whole = predictor(image)
    parts = [(part, slab.clone()) for part, slab in predictor.slabs(image)]
    assert [slab.shape[1] for _, slab in parts] == [3, 3, 4, 3, 8]
    assert torch.equal(torch.cat([slab for _, slab in parts], dim=1), whole)
    kept = predictor(image, tmp_path)
    assert isinstance(kept, InFile)
    assert all(map(torch.equal, kept.structures(), whole[1:]))


def test_a_budget_that_cannot_be_met_is_refused_with_one_that_can() -> None:
    assert NEED.fits_whole(None)
    assert NEED.fits_whole(NEED.whole_gb)
    assert not NEED.fits_whole(NEED.least_gb)
    with pytest.raises(CrossfoldError, match="512 x 512 x 128") as refused:
        NEED.fits_whole(1)
    advised = float(refused.value.remedy.removeprefix("allow --memory ").split(",")[0])
    assert NEED.least_gb <= advised < NEED.least_gb + 0.11
    assert not NEED.fits_whole(advised)


def test_more_members_and_larger_images_need_more() -> None:
    for larger in (
        replace(NEED, members=9),
        replace(NEED, channels=3),
        replace(NEED, source=(512, 512, 256)),
        replace(NEED, aggregation="log_average"),
        replace(NEED, features=10**9),
    ):
        assert larger.whole_gb >= NEED.whole_gb
        assert larger.least_gb > NEED.least_gb or larger.features > NEED.features


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from crossfold.prediction.memory import InFile
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
posteriors = InFile(Path(sys.argv[1]), 3, (20, 20, 20))
posteriors.write(slice(0, 20), torch.zeros(3, 20, 20, 20))
"""


def test_a_file_for_which_there_is_no_room_says_how_much_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no room for posteriors of 9.6e-05 GB" in done.stderr
