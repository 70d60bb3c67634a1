from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from crossfold.config.figures import FiguresConfig
from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import preprocess_dataset
from crossfold.learning.sampling import CropSampler
from crossfold.paper.patch_sampling import draw_patch_sampling, sampled

# Axes of the file: left, posterior, superior, with voxels of 2 mm along z.
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
SUBJECT = "P 1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """One subject of 12 x 14 x 5 voxels with an organ of one voxel."""
    folder = tmp_path_factory.mktemp("dataset")
    organ = np.zeros((12, 14, 5))
    organ[2, 3, 4] = 1
    image = np.random.default_rng(0).normal(size=organ.shape)
    (folder / "images").mkdir()
    for name, array in (("ct", image), ("organ", organ)):
        nib.save(nib.Nifti1Image(array, AFFINE), folder / "images" / f"{name}.nii.gz")
    rows = [f"{SUBJECT},{name},images/{name}.nii.gz" for name in ("ct", "organ")]
    (folder / "dataset.csv").write_text("\n".join(["subject,channel,filePath", *rows]) + "\n")
    dataset = Dataset.read(folder / "dataset.csv")
    preprocess_dataset(
        dataset,
        folder / "preprocessed",
        subjects=[SUBJECT],
        training_subjects=[SUBJECT],
        images=["ct"],
        structures=["organ"],
        config=PreprocessingConfig(),
    )
    return dataset, folder / "preprocessed"


@settings(max_examples=20)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.integers(0, 9))
def test_counts_are_those_of_the_crops_one_by_one(
    prepared: tuple[Dataset, Path], size: tuple[int, int, int], seed: int
) -> None:
    sampler = CropSampler(prepared[1], [SUBJECT], size=size, foreground=0.5)
    random = np.random.default_rng(seed)
    expected = np.zeros(sampler.shape(0), dtype=int)
    for _ in range(9):
        start = sampler.start(random, 0)
        low, high = np.maximum(start, 0), np.maximum(start + size, 0)
        expected[tuple(map(slice, low, high))] += 1
    counts = sampled(sampler, 0, 9, np.random.default_rng(seed))
    np.testing.assert_array_equal(counts, expected)


def test_the_map_lies_on_the_image(prepared: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, preprocessed = prepared
    sampler = CropSampler(preprocessed, [SUBJECT], size=(1, 1, 1), foreground=1.0)
    draw_patch_sampling(
        dataset,
        sampler,
        tmp_path / "maps",
        image="ct",
        structures=["organ"],
        draws=70,
        seed=0,
        config=FiguresConfig(dpi=50),
    )
    counts = nib.load(tmp_path / "maps/P 1.nii.gz")
    np.testing.assert_array_equal(counts.affine, AFFINE)
    assert counts.get_data_dtype() == np.uint16
    organ = dataset.image(SUBJECT, "organ").array
    np.testing.assert_array_equal(np.asarray(counts.dataobj), 70 * organ)
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "P 1.nii.gz",
        "P 1.png",
    ]
    assert np.asarray(Picture.open(tmp_path / "maps/P 1.png")).std() > 10
