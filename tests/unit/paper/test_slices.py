from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.paper.slices import Case, contour_colours, find_segmentation, own_labels
from crossfold.paths import subject_file


def case_of(reference: np.ndarray, prediction: np.ndarray) -> Case:
    return Case(np.zeros(reference.shape, np.float32), reference, prediction, (1.0, 1.0, 2.0))


def test_the_slice_is_the_one_that_costs_most_of_the_mean_dice() -> None:
    reference = np.zeros((12, 12, 4), np.uint8)
    reference[:, :, 0] = 1
    reference[2:4, 2:4, 2] = 2
    prediction = reference.copy()
    prediction[:6, :, 0] = 0  # many voxels, half of the large structure
    prediction[..., 2] = 0  # four voxels, all of the small one
    case = case_of(reference, prediction)
    assert case.slices[2] == 2
    lost = [1 - 2 * 72 / (144 + 72), 1.0]
    assert case.dice_loss[2].sum() == pytest.approx(sum(lost))
    np.testing.assert_allclose(case.dice_loss[2], [lost[0], 0, lost[1], 0])


def test_without_an_error_it_is_the_largest_slice_and_without_anything_the_middle() -> None:
    reference = np.zeros((5, 6, 7), np.uint8)
    reference[1:4, 2, 5] = 1
    reference[1, 2, 4] = 1
    assert case_of(reference, reference).slices == (1, 2, 5)
    assert case_of(0 * reference, 0 * reference).slices == (2, 3, 3)


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    extent=st.tuples(*[st.floats(0.5, 30)] * 3),
    seed=st.integers(0, 100),
)
def test_the_view_holds_the_structures_and_lies_in_the_image(
    shape: tuple[int, int, int], extent: tuple[float, float, float], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    reference = (generator.uniform(size=shape) > 0.9).astype(np.uint8)
    case = case_of(reference, reference)
    shown = [max(one, other) for one, other in zip(extent, case.extent_mm(0), strict=True)]
    for side, box, size, index in zip(case.view(shown), case.box, shape, case.slices, strict=True):
        assert 0 <= side.start <= box.start < box.stop <= side.stop <= size
        assert side.start <= index < side.stop


def test_a_margin_ends_where_the_image_ends() -> None:
    reference = np.zeros((10, 10, 10), np.uint8)
    reference[4:6, 0:10, 5] = 1
    case = case_of(reference, reference)
    assert case.extent_mm(0) == (2, 10, 2)
    assert case.extent_mm(3) == (8, 10, 8)
    assert case.extent_mm(100) == (10, 10, 20)


def test_a_fold_shows_its_validation_subjects_and_never_its_test_subjects(tmp_path: Path) -> None:
    fold = tmp_path / "segmentations"
    for split, subject in (("val", "a/b"), ("test", "c")):
        path = subject_file(fold / split, subject)
        path.parent.mkdir(parents=True)
        path.touch()
    assert find_segmentation([fold], "a/b") == subject_file(fold / "val", "a/b")
    assert find_segmentation([tmp_path, fold / "val"], "a/b") == subject_file(fold / "val", "a/b")
    assert find_segmentation([fold], "c") is None


def test_labels_of_unions_are_not_structures() -> None:
    labels = {"b": (2,), "a": (1,), "both": (1, 2), "alias": (2,)}
    assert own_labels(labels) == ("a", "b")


def test_two_tones_of_seven_colours() -> None:
    tones = [tone for place in range(7) for tone in contour_colours(place)]
    assert len(set(tones)) == 14
    assert contour_colours(7) == contour_colours(0)
