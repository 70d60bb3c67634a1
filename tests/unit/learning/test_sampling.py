from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossfold.data.preprocessing import IMAGE, LABELS
from crossfold.learning.sampling import CropSampler
from crossfold.paths import subject_file


@pytest.mark.parametrize("size", [(8, 8, 8), (32, 16, 40), (20, 24, 18)])
@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_a_crop_is_a_part_of_its_image_and_zero_outside(
    preprocessed: Path, subjects: list[str], size: tuple[int, int, int], foreground: float
) -> None:
    sampler = CropSampler(preprocessed, subjects, size=size, foreground=foreground)
    crops = sampler.draw(np.random.default_rng(1), 12, [0, 0, 0])
    assert crops.images.shape == (12, 1, *size)
    assert crops.labels.shape == (12, *size)
    for image, labels, subject in zip(crops.images, crops.labels, crops.subjects, strict=True):
        whole = np.load(subject_file(preprocessed, subject, IMAGE)).astype(np.float32)
        inside = image[0] != 0
        overlap = np.prod(np.minimum(size, whole.shape[1:]))
        assert inside.sum() <= overlap
        # Noise makes every voxel distinct enough: all values of the crop are values of the image.
        assert np.isin(image[0][inside], whole).all()
        assert inside.sum() > 0.99 * overlap
        assert (labels[~inside] == 0).all()


def test_crops_are_centred_on_structures(preprocessed: Path, subjects: list[str]) -> None:
    sampler = CropSampler(preprocessed, subjects, size=(5, 5, 5), foreground=1.0)
    crops = sampler.draw(np.random.default_rng(0), 200, [0, 0, 0])
    centres = crops.labels[:, 2, 2, 2]
    assert (centres > 0).all()
    # Both structures are drawn equally often, although one is a seventh of the other.
    assert 60 < (centres == 2).sum() < 140


def test_the_margin_continues_the_image(preprocessed: Path, subjects: list[str]) -> None:
    sampler = CropSampler(preprocessed, subjects, size=(8, 8, 8), foreground=0.5)
    plain = sampler.draw(np.random.default_rng(5), 3, [0, 0, 0])
    wide = sampler.draw(np.random.default_rng(5), 3, [2, 1, 3])
    np.testing.assert_array_equal(wide.images[:, :, 2:-2, 1:-1, 3:-3], plain.images)
    np.testing.assert_array_equal(wide.labels[:, 2:-2, 1:-1, 3:-3], plain.labels)


def test_an_absent_structure_is_not_drawn(preprocessed: Path, tmp_path: Path) -> None:
    for file in preprocessed.glob("ball 0.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    voxels = np.load(tmp_path / "ball 0.voxels.npy")
    voxels[1] = -1
    np.save(tmp_path / "ball 0.voxels.npy", voxels)
    sampler = CropSampler(tmp_path, ["ball 0"], size=(5, 5, 5), foreground=1.0)
    crops = sampler.draw(np.random.default_rng(0), 50, [0, 0, 0])
    labels = np.load(subject_file(preprocessed, "ball 0", LABELS))
    assert (labels == 2).any()
    assert (crops.labels[:, 2, 2, 2] > 0).all()
