"""Each step of post-processing on a drawing: a row of digits is a line of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import FillHoles
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.config.prediction import PostprocessingConfig
from crossfold.prediction.postprocessing import (
    exclude_slices,
    fill_holes,
    keep_largest_component,
    segment,
    smooth,
)

LABELS = {"a": (1,), "b": (2,), "c": (3,), "ab": (1, 2)}
# Superior, left, anterior: the first axis of the file runs from feet to head.
FEET_FIRST = np.array([[0, -2.0, 0, 0], [0, 0, 1.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])


def draw(*rows: str) -> NDArray[np.uint8]:
    """One slice (x, y, 1), a row per x."""
    return np.array([[int(digit) for digit in row] for row in rows], dtype=np.uint8)[..., None]


def rows_of(segmentation: NDArray[np.uint8]) -> list[str]:
    return ["".join(map(str, row)) for row in segmentation[..., 0]]


def sure(segmentation: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Posteriors that leave no doubt about a drawing."""
    return np.stack([np.uint8(255) * (segmentation == value) for value in (1, 2, 3)], axis=-1)


def process(
    posterior: NDArray[np.uint8], affine: NDArray[np.float64] | None = None, **section: Any
) -> NDArray[np.uint8]:
    steps = PostprocessingConfig(**section)
    return segment(posterior, whole=255, labels=LABELS, postprocessing=steps, affine=affine)


def test_smoothing_is_that_of_scipy_on_the_whole_image() -> None:
    posterior = np.zeros((20, 16, 12), dtype=np.uint8)
    posterior[3:9, 5:8, 2:6] = 200
    posterior[0, 0, 0] = 90
    sigma = np.array([1.5, 0.7, 0.4])
    expected = ndimage.gaussian_filter(posterior.astype(np.float32), sigma)
    for array in (posterior, np.asfortranarray(posterior)):
        np.testing.assert_allclose(smooth(array, sigma), expected, atol=1e-4)
    assert not smooth(np.zeros_like(posterior), sigma).any()


def test_smoothing_removes_a_speck_and_keeps_the_middle() -> None:
    drawing = np.zeros((15, 15, 15), dtype=np.uint8)
    drawing[2:9, 2:9, 2:9] = 1
    drawing[12, 12, 12] = 1
    smoothed = process(sure(drawing), smoothing_mm=1.5)
    assert smoothed[12, 12, 12] == 0
    assert (smoothed[4:7, 4:7, 4:7] == 1).all()


def test_smoothing_is_along_the_axes_of_the_patient() -> None:
    """A rod of 2 mm along the patient's z survives smoothing along z, and not along x."""
    rod = np.zeros((9, 9, 9), dtype=np.uint8)
    rod[:, 4, 4] = 1  # the first axis of the file is superior
    along = process(sure(rod), FEET_FIRST, smoothing_mm=[0, 0, 4])
    across = process(sure(rod), FEET_FIRST, smoothing_mm=[4, 0, 0])
    assert (along == rod).all()
    assert not across.any()


def test_two_structures_that_outweigh_what_is_around_them() -> None:
    # a, b, c (around them), rest background.
    posterior = np.array(
        [
            [60, 80, 110],  # 140 > 110: b is the likelier
            [80, 60, 110],  # a
            [70, 70, 110],  # a tie goes to the first
            [50, 60, 110],  # 110 is not more than 110
            [60, 80, 10],  # background wins, and is not around them
        ],
        dtype=np.uint8,
    )[:, None, None]
    rule = {"first": "a", "second": "b", "external": "c"}
    assert process(posterior).ravel().tolist() == [3, 3, 3, 3, 0]
    assert process(posterior, summed_probability=[rule]).ravel().tolist() == [2, 1, 1, 3, 0]
    outside = rule | {"external": "background"}
    assert process(posterior, summed_probability=[outside]).ravel().tolist() == [3, 3, 3, 3, 2]


def test_smoothed_posteriors_are_summed() -> None:
    drawing = draw("33333", "33133", "33233", "33333")
    rule = {"first": "a", "second": "b", "external": "c"}
    assert "1" not in "".join(rows_of(process(sure(drawing), smoothing_mm=0.6)))
    both = process(sure(drawing), smoothing_mm=0.6, summed_probability=[rule])
    assert rows_of(both)[1:3] == ["33133", "33233"]


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [
        (None, "1110000000000"),
        (0.2, "1110011000000"),  # 3, 2 and 1 of 6 voxels
        (1 / 3, "1110011000000"),
        (0.34, "1110000000000"),
        (0.01, "1110011000100"),
        (0.5, "1110000000000"),  # as without, also where the largest has half
    ],
)
def test_components_above_a_share(threshold: float | None, kept: str) -> None:
    drawing = draw("1110011000100")
    keep_largest_component(drawing, (1,), threshold)
    assert rows_of(drawing) == [kept]


def test_where_no_component_is_large_enough_the_largest_stays() -> None:
    drawing = draw("1010101010110")
    keep_largest_component(drawing, (1,), 0.4)
    assert rows_of(drawing) == ["0000000000110"]


def test_a_share_that_no_fraction_meets_exactly() -> None:
    """0.07 * 100 is a little more than 7 in floating point."""
    drawing = draw("1" * 93 + "0" + "1" * 7)
    keep_largest_component(drawing, (1,), 0.07)
    assert rows_of(drawing) == ["1" * 93 + "0" + "1" * 7]


@pytest.mark.parametrize(("keep", "expected"), [("higher", "1122222"), ("lower", "1111122")])
def test_no_slice_has_two_structures(keep: str, expected: str) -> None:
    # From feet to head; b begins in the third slice, a ends in the fifth.
    slices = np.zeros((7, 2, 1), dtype=np.uint8)
    slices[:5, 0, 0], slices[2:, 1, 0] = 1, 2
    rule = {"higher": "b", "lower": "a", "keep": keep}
    for flip in (False, True):
        array, affine = slices, FEET_FIRST.copy()
        if flip:  # the same patient in a file that begins at the head
            array, affine[2, 0] = slices[::-1], -3.0
        found = process(sure(array), affine, slice_exclusion=[rule])
        found = found[::-1] if flip else found
        assert "".join(str(row.max()) for row in found) == expected


def test_structures_that_share_no_slice_stay_as_they_are() -> None:
    slices = np.zeros((6, 1, 1), dtype=np.uint8)
    slices[:3], slices[3:] = 1, 2
    before = slices.copy()
    exclude_slices(slices, 2, 1, FEET_FIRST, keep_higher=True)
    np.testing.assert_array_equal(slices, before)
    exclude_slices(slices, 3, 1, FEET_FIRST, keep_higher=True)  # one is absent
    np.testing.assert_array_equal(slices, before)


def ring() -> NDArray[np.uint8]:
    """A hollow cube of a, b in the middle of its hollow, and an open box beside it."""
    drawing = np.zeros((12, 7, 7), dtype=np.uint8)
    drawing[1:6, 1:6, 1:6] = 1
    drawing[2:5, 2:5, 2:5] = 0
    drawing[3, 3, 3] = 2
    drawing[7:12, 1:6, 1:6] = 1
    drawing[8:12, 2:5, 2:5] = 0  # open at the border of the image
    return drawing


def test_only_enclosed_background_is_filled() -> None:
    drawing = ring()
    filled = process(sure(drawing), fill_holes=["a"])
    assert (filled[1:6, 1:6, 1:6] == 1).sum() == 5**3 - 1
    assert filled[3, 3, 3] == 2
    np.testing.assert_array_equal(filled[6:], drawing[6:])


def test_holes_of_a_union_are_filled_with_its_likelier_part() -> None:
    # Flat images have no enclosed voxel, so the drawing stands three times on top of itself.
    layer = draw("11222", "11222", "11022", "11222", "11222")
    drawing = np.concatenate([layer] * 3, axis=2)
    drawing[2, 2, 0] = drawing[2, 2, 2] = 1
    posterior = sure(drawing)
    posterior[2, 2, 1] = (40, 70, 0)
    plain = segment(posterior, whole=255, labels=LABELS)
    assert plain[2, 2, 1] == 0
    assert process(posterior, fill_holes=["a"])[2, 2, 1] == 0  # a alone does not enclose it
    assert process(posterior, fill_holes=["ab"])[2, 2, 1] == 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_holes_are_those_of_monai_where_they_hold_nothing_else(seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random((7, 8, 6)) < 0.75).astype(np.uint8)
    expected = np.asarray(FillHoles(applied_labels=[1], connectivity=1)(mask[None].copy()))[0]
    fill_holes(mask, (1,), mask[..., None])
    np.testing.assert_array_equal(mask, expected)


def test_holes_are_filled_after_a_stray_component_in_them_is_gone() -> None:
    drawing = ring()
    drawing[7:, 1:6, 1:6] = 0
    drawing[3, 3, 3] = 0
    drawing[2, 2, 2] = drawing[9, 3, 3] = 2
    drawing[9:11, 3, 3] = 2
    found = process(sure(drawing), largest_component=["b"], fill_holes=["a"])
    assert (found[1:6, 1:6, 1:6] == 1).all()
    assert (found == 2).sum() == 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_a_second_time_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    drawing = random.integers(0, 4, (6, 6, 6)).astype(np.uint8)
    section: dict[str, Any] = {
        "largest_component": ["a", ["b", 0.2], "ab"],
        "fill_holes": ["a", "b", "ab"],
    }
    once = process(sure(drawing), **section)
    filled = process(sure(once), fill_holes=section["fill_holes"])
    np.testing.assert_array_equal(filled, once)


def test_files_in_any_orientation_give_the_same_patient() -> None:
    random = np.random.default_rng(0)
    drawing = ndimage.zoom(random.integers(0, 4, (5, 6, 7)).astype(np.uint8), 3, order=0)
    section: dict[str, Any] = {
        "smoothing_mm": [2, 1, 3],
        "largest_component": ["a", "b"],
        "slice_exclusion": [{"higher": "a", "lower": "c", "keep": "higher"}],
        "fill_holes": ["c"],
    }
    straight = process(sure(drawing), np.diag([2.0, 1, 3, 1]), **section)
    turned = drawing.transpose(2, 0, 1)[:, ::-1]  # superior, left, anterior
    affine = np.array([[0, -2.0, 0, 0], [0, 0, 1.0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    found = process(np.ascontiguousarray(sure(turned)), affine, **section)
    np.testing.assert_array_equal(found[:, ::-1].transpose(1, 2, 0), straight)
