from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossfold.data.preprocessing import IMAGE, LABELS, MASK, VOXELS
from crossfold.errors import CrossfoldError
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


def copy_of(preprocessed: Path, target: Path, subject: str = "ball 0") -> np.ndarray:
    """Copy the files of a subject; return its labels."""
    for file in preprocessed.glob(f"{subject}.*"):
        (target / file.name).write_bytes(file.read_bytes())
    return np.load(subject_file(target, subject, LABELS))


def centres(sampler: CropSampler, labels: np.ndarray, draws: int = 600) -> np.ndarray:
    """Return the classes at the centres of crops of one voxel."""
    random = np.random.default_rng(0)
    return np.array([labels[tuple(sampler.start(random, 0))] for _ in range(draws)])


def one_voxel(folder: Path, weights: list[float]) -> CropSampler:
    return CropSampler(folder, ["ball 0"], size=(1, 1, 1), foreground=0.0, class_weights=weights)


def test_classes_are_drawn_by_their_weights(preprocessed: Path, tmp_path: Path) -> None:
    labels = copy_of(preprocessed, tmp_path)
    drawn = centres(one_voxel(tmp_path, [0.2, 0.5, 0.3]), labels)
    shares = np.bincount(drawn, minlength=3) / len(drawn)
    # Four standard deviations of a share of 600 draws.
    np.testing.assert_allclose(shares, [0.2, 0.5, 0.3], atol=4 * 0.5 / np.sqrt(600))


def test_an_absent_class_leaves_its_share_to_the_others(preprocessed: Path, tmp_path: Path) -> None:
    """Without class 2, the weights 0.2 and 0.3 of the others become 0.4 and 0.6."""
    labels = copy_of(preprocessed, tmp_path)
    voxels = np.load(subject_file(tmp_path, "ball 0", VOXELS))
    voxels[1] = -1
    np.save(subject_file(tmp_path, "ball 0", VOXELS), voxels)
    drawn = centres(one_voxel(tmp_path, [0.2, 0.3, 0.5]), np.minimum(labels, 1))
    assert drawn.mean() == pytest.approx(0.6, abs=4 * 0.5 / np.sqrt(600))


def test_nothing_left_to_draw_is_an_error(preprocessed: Path, tmp_path: Path) -> None:
    copy_of(preprocessed, tmp_path)
    voxels = np.load(subject_file(tmp_path, "ball 0", VOXELS))
    voxels[1] = -1
    np.save(subject_file(tmp_path, "ball 0", VOXELS), voxels)
    with pytest.raises(CrossfoldError, match="subject ball 0: no voxel of any class"):
        one_voxel(tmp_path, [0, 0, 1]).start(np.random.default_rng(0), 0)


@pytest.mark.parametrize("rare", [False, True])
def test_the_mask_restricts_the_background(preprocessed: Path, tmp_path: Path, rare: bool) -> None:
    """Also where it is so small that the whole image has to be searched for it."""
    labels = copy_of(preprocessed, tmp_path)
    mask = np.zeros(labels.shape, dtype=bool)
    mask[: 1 if rare else 4, : 2 if rare else 24, : 2 if rare else 18] = True
    assert (labels[mask] == 0).any()
    np.save(subject_file(tmp_path, "ball 0", MASK), mask)
    for sampler in (
        one_voxel(tmp_path, [1, 0, 0]),
        CropSampler(tmp_path, ["ball 0"], size=(1, 1, 1), foreground=0.0),
    ):
        random = np.random.default_rng(0)
        places = np.array([sampler.start(random, 0) for _ in range(200)])
        assert mask[tuple(places.T)].all()
        # Uniform: every voxel of the small mask is drawn about as often as the others.
        if rare:
            _, counts = np.unique(places, axis=0, return_counts=True)
            assert len(counts) == 4
            assert counts.min() > 25


def test_a_mask_without_background_leaves_the_structures(
    preprocessed: Path, tmp_path: Path
) -> None:
    labels = copy_of(preprocessed, tmp_path)
    np.save(subject_file(tmp_path, "ball 0", MASK), labels > 0)
    drawn = centres(one_voxel(tmp_path, [0.9, 0.05, 0.05]), labels)
    assert (drawn > 0).all()
    assert (drawn == 2).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(600))
