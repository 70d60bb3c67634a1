from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.paper.slices import Case
from crossfold.paper.thumbnails import MOST_BYTES, SIDE, draw_thumbnails, thumbnail
from crossfold.paths import subject_file
from tests.unit.paper.figures.pictures import balls, make_pictures


def colours_of(encoded: bytes) -> set[tuple[int, int, int]]:
    pixels = np.asarray(Picture.open(BytesIO(encoded)).convert("RGB")).reshape(-1, 3)
    return {(red, green, blue) for red, green, blue in pixels.tolist() if red != green}


def case_of(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Case:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    labels = balls(shape, 4, shift=0.0)
    return Case(image, labels, np.roll(labels, 3, axis=0), spacing_mm)


def test_small_files_of_small_pictures_even_of_noise() -> None:
    encoded = thumbnail(case_of((400, 400, 3), (0.5, 0.5, 2.0)))
    assert Picture.open(BytesIO(encoded)).size == (SIDE, SIDE)
    assert len(encoded) <= MOST_BYTES


def test_proportions_are_those_of_the_body() -> None:
    labels = np.ones((20, 10, 1), np.uint8)
    case = Case(labels.astype(np.float32), labels, labels, (1.0, 4.0, 1.0))
    assert Picture.open(BytesIO(thumbnail(case))).size == (SIDE // 2, SIDE)


def test_right_is_on_the_left_and_the_front_at_the_top() -> None:
    image = np.zeros((20, 20, 1), np.float32)
    image[15:, 15:] = 1  # right and anterior
    nothing = np.zeros(image.shape, np.uint8)
    case = Case(image, nothing, nothing, (1.0, 1.0, 1.0))
    picture = np.asarray(Picture.open(BytesIO(thumbnail(case))).convert("L"))
    bright = picture > 128
    assert bright[:30, :30].all()
    assert bright.mean() == pytest.approx(1 / 16, rel=0.1)


def test_reference_and_prediction_have_tones_of_their_own() -> None:
    case = case_of((60, 60, 3), (1.0, 1.0, 1.0))
    assert len(colours_of(thumbnail(case))) == 8
    assert len(colours_of(thumbnail(case, predicted=False))) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_per_subject_with_or_without_prediction(tmp_path: Path, workers: int) -> None:
    inputs, context = make_pictures(tmp_path, subjects=3)
    subject_file(inputs["segmentations"][0], "subject 2").unlink()
    dataset = Dataset.read(inputs["dataset"])
    for target in ("one", "two"):
        draw_thumbnails(
            dataset,
            inputs["segmentations"],
            dataset.subjects,
            image="ct",
            structures=context.structures,
            target_directory=tmp_path / target,
            workers=workers,
        )
    names = [f"subject {number}.png" for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        one, two = ((tmp_path / target / name).read_bytes() for target in ("one", "two"))
        assert one == two
        assert len(colours_of(one)) == (2 if name == "subject 2.png" else 4)


def test_nobody_leaves_an_empty_folder_and_an_error_none(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path, subjects=1)
    arguments = {
        "image": "ct",
        "structures": context.structures,
        "target_directory": tmp_path / "target",
        "workers": 1,
    }
    dataset = Dataset.read(inputs["dataset"])
    with pytest.raises(CrossfoldError, match="no row"):
        draw_thumbnails(dataset, inputs["segmentations"], ["nobody"], **arguments)
    assert not (tmp_path / "target").exists()
    draw_thumbnails(dataset, inputs["segmentations"], [], **arguments)
    assert list((tmp_path / "target").iterdir()) == []
