from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossfold.config.preprocessing import CtWindow, PercentileRange, PreprocessingConfig, ZScore
from crossfold.data.dataset import Dataset
from crossfold.data.normalisation import normalise
from crossfold.data.preprocessing import (
    IMAGE,
    LABELS,
    MASK,
    VOXELS,
    VOXELS_PER_STRUCTURE,
    Plan,
    preprocess_dataset,
)
from crossfold.errors import CrossfoldError
from crossfold.paths import subject_file

SUBJECTS = ("P 1", "P/2", "P 3")
# Axes of the files: left, posterior, superior.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def dataset(tmp_path: Path, write_nifti: Callable[..., Path]) -> Dataset:
    """Three subjects that are 2, 3 and 4 mm apart along z, with one bright voxel in a corner."""
    rows = ["subject,channel,filePath"]
    for number, subject in enumerate(SUBJECTS):
        affine = LPS @ np.diag([1.0, 1.0, 2.0 + number, 1.0])
        image = np.random.default_rng(number).normal(size=(8, 10, 6))
        image[0, 0, 0] = 50
        mask = np.zeros((8, 10, 6))
        mask[:4, :5, :3] = 1
        for channel, array in (("ct", image), ("organ", mask), ("absent", 0 * mask)):
            write_nifti(tmp_path / "images" / f"{number}_{channel}.nii.gz", array, affine)
            rows.append(f"{subject},{channel},images/{number}_{channel}.nii.gz")
    (tmp_path / "dataset.csv").write_text("\n".join(rows) + "\n")
    return Dataset.read(tmp_path / "dataset.csv")


def preprocess(
    dataset: Dataset,
    name: str = "preprocessed",
    *,
    intensities: Path | None = None,
    **settings: Any,
) -> tuple[Path, Plan]:
    folder = dataset.folder / name
    plan = preprocess_dataset(
        dataset,
        folder,
        subjects=SUBJECTS,
        training_subjects=SUBJECTS[:2],
        images=["ct"],
        structures=["organ", "absent"],
        config=PreprocessingConfig(**settings),
        intensities=intensities,
    )
    return folder, plan


def array_of(folder: Path, subject: str, suffix: str) -> np.ndarray:
    return np.load(subject_file(folder, subject, suffix), mmap_mode="r")


def test_the_median_is_that_of_the_training_subjects(dataset: Dataset) -> None:
    folder, plan = preprocess(dataset)
    assert plan.spacing_mm == (1, 1, 2.5)
    shapes = [array_of(folder, subject, LABELS).shape for subject in SUBJECTS]
    assert shapes == [(8, 10, 5), (8, 10, 7), (8, 10, 10)]
    assert plan.shape == (8, 10, 6)
    assert Plan.read(folder) == plan


def test_an_axis_without_a_wish_stays_as_it_is_in_each_image(dataset: Dataset) -> None:
    folder, plan = preprocess(dataset, spacing_mm=[2, None, None])
    for subject in SUBJECTS:
        assert array_of(folder, subject, IMAGE).shape == (1, 4, 10, 6)
    assert plan.spacing_mm == (2, 1, 2.5)
    assert plan.shape == (4, 10, 6)


def test_arrays_are_ras_and_small(dataset: Dataset) -> None:
    folder, _ = preprocess(dataset, spacing_mm=[None] * 3)
    for subject in SUBJECTS:
        image, labels = (array_of(folder, subject, suffix) for suffix in (IMAGE, LABELS))
        assert (image.dtype, labels.dtype) == (np.float16, np.uint8)
        # The first voxel of the file lies on the left, behind: the last one along x and y in RAS.
        assert np.unravel_index(image[0].argmax(), labels.shape) == (7, 9, 0)
        assert labels[4:, 5:, :3].all()
        assert labels.sum() == 4 * 5 * 3


def test_voxels_lie_in_their_structure(dataset: Dataset) -> None:
    folder, _ = preprocess(dataset)
    for subject in SUBJECTS:
        organ, absent = array_of(folder, subject, VOXELS)
        assert organ.shape == (VOXELS_PER_STRUCTURE, 3)
        assert (array_of(folder, subject, LABELS)[tuple(organ.T)] == 1).all()
        assert (absent == -1).all()


def test_a_digest_changes_with_its_image_alone(
    dataset: Dataset, write_nifti: Callable[..., Path]
) -> None:
    _, before = preprocess(dataset)
    _, again = preprocess(dataset, "again")
    assert again.digests == before.digests
    file = dataset.path("P/2", "ct")
    array = dataset.image("P/2", "ct").array
    array[3, 3, 3] += 10
    write_nifti(file, array, dataset.image("P/2", "ct").affine)
    _, after = preprocess(dataset, "after")
    changed = [subject for subject in SUBJECTS if after.digests[subject] != before.digests[subject]]
    assert changed == ["P/2"]


def test_a_failure_leaves_no_folder(dataset: Dataset) -> None:
    dataset.path("P 3", "ct").write_bytes(b"")
    with pytest.raises(CrossfoldError, match=r"2_ct\.nii\.gz: the file is empty"):
        preprocess(dataset)
    assert sorted(path.name for path in dataset.folder.iterdir()) == ["dataset.csv", "images"]


def test_a_ct_window_is_the_same_in_every_image() -> None:
    array = np.array([-2000, -250, 50, 350, 3000], np.float32)
    values = normalise(array, CtWindow(method="ct_window", level=50, window=600))
    assert values.tolist() == [0, 0, 0.5, 1, 1]


def test_a_z_score_has_mean_0_and_deviation_1() -> None:
    array = np.random.default_rng(0).normal(1e4, 300, (20, 20, 20)).astype(np.float32)
    values = normalise(array, ZScore())
    assert values.dtype == np.float32
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-4)
    np.testing.assert_allclose(normalise(array * 1e-4, ZScore()), values, atol=1e-3)


def test_clipping_comes_before_the_z_score() -> None:
    array = np.arange(1000, dtype=np.float32)
    array[-1] = 1e6
    values = normalise(array, ZScore(clip_percentiles=(0, 99)))
    assert values.max() < 2
    assert normalise(array, ZScore()).max() > 30


def test_percentiles_become_0_and_1() -> None:
    array = np.arange(101, dtype=np.float32)
    method = PercentileRange(method="percentile", percentiles=(10, 90))
    values = normalise(array, method)
    assert values.dtype == np.float32
    assert values[[0, 10, 50, 90, 100]].tolist() == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("method", [ZScore(), PercentileRange(method="percentile")])
def test_an_image_of_one_value_is_0(method: ZScore | PercentileRange) -> None:
    assert not normalise(np.full((3, 3, 3), 7, np.float32), method).any()


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((35, 50, 36), (1, 1, 1)), ((160, 160, 20), (2, 2, 3.6)), ((5, 5, 5), (1, 1, 1))],
)
def test_the_automatic_patch_is_affordable(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    patch = Plan(spacing_mm, shape, {}).auto_patch()
    assert np.prod(patch) <= 65_536
    assert all(size % 8 == 0 for size in patch)
    assert all(size < extent + 8 or size == 8 for size, extent in zip(patch, shape, strict=True))


def test_histograms_show_both_stages_of_every_image(dataset: Dataset) -> None:
    table = dataset.folder / "intensities.csv"
    preprocess(dataset, intensities=table, normalisation={"method": "percentile"})
    rows = pd.read_csv(table)
    assert set(zip(rows["subject"], rows["stage"], strict=True)) == {
        (subject, stage) for subject in SUBJECTS for stage in ("before", "after")
    }
    after = rows[rows["stage"] == "after"]
    assert (after["low"].min(), after["high"].max()) == (0, 1)
    assert rows.loc[rows["stage"] == "before", "low"].min() < -1


@pytest.fixture
def masked(dataset: Dataset, write_nifti: Callable[..., Path]) -> Dataset:
    """The dataset with the channel `body`, in which half of `organ` lies."""
    rows = (dataset.folder / "dataset.csv").read_text().splitlines()
    for number, subject in enumerate(SUBJECTS):
        body = np.zeros((8, 10, 6))
        body[:2] = 1
        like = dataset.image(subject, "ct")
        write_nifti(dataset.folder / "images" / f"{number}_body.nii.gz", body, like.affine)
        rows.append(f"{subject},body,images/{number}_body.nii.gz")
    (dataset.folder / "dataset.csv").write_text("\n".join(rows) + "\n")
    return Dataset.read(dataset.folder / "dataset.csv")


def test_a_mask_is_what_intensities_and_voxels_are_taken_from(masked: Dataset) -> None:
    grid = {"spacing_mm": [None] * 3}
    folder, plan = preprocess(masked, **grid, mask="body")
    plain, without = preprocess(masked, "plain", **grid)
    for subject in SUBJECTS:
        mask = array_of(folder, subject, MASK)
        assert mask.dtype == bool
        assert mask[6:].all()  # the first voxels of the file lie on the left
        assert not mask[:6].any()
        image = array_of(folder, subject, IMAGE)[0].astype(float)
        assert (image[mask].mean(), image[mask].std()) == pytest.approx((0, 1), abs=1e-3)
        assert (array_of(folder, subject, VOXELS)[0][:, 0] >= 6).all()
        assert (array_of(plain, subject, VOXELS)[0][:, 0] < 6).any()
        assert not subject_file(plain, subject, MASK).exists()
        assert plan.digests[subject] != without.digests[subject]


def test_an_empty_mask_names_the_subject(masked: Dataset) -> None:
    with pytest.raises(CrossfoldError, match=r"subject P 1, preprocessing.mask: absent: no voxel"):
        preprocess(masked, mask="absent")


def test_values_that_do_not_fit_are_refused(
    dataset: Dataset, write_nifti: Callable[..., Path]
) -> None:
    affine = dataset.image("P 3", "ct").affine
    write_nifti(dataset.path("P 3", "ct"), np.full((8, 10, 6), 1e6), affine)
    with pytest.raises(CrossfoldError, match=r"subject P 3, image ct: .* beyond ±65504"):
        preprocess(dataset, normalisation={"method": "unchanged"})
