from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crossfold.data.dicom.polygons import fill, outline

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_filled_outlines_give_the_mask_back(mask: np.ndarray) -> None:
    assert np.array_equal(fill(outline(mask), mask.shape), mask)


def test_a_hole_is_joined_to_its_outline() -> None:
    mask = np.ones((7, 7), dtype=bool)
    mask[2:4, 2:4] = mask[5, 5] = False
    assert len(outline(mask)) == 1
    assert np.array_equal(fill(outline(mask), mask.shape), mask)


def test_a_polygon_within_another_is_a_hole() -> None:
    outer = np.array([[0.5, 0.5], [8.5, 0.5], [8.5, 8.5], [0.5, 8.5]])
    inner = np.array([[2.5, 2.5], [5.5, 2.5], [5.5, 5.5], [2.5, 5.5]])
    mask = fill([inner, outer], (10, 10))
    assert mask.sum() == 64 - 9
    assert not mask[3:6, 3:6].any()


def test_a_polygon_is_cut_off_at_the_border() -> None:
    square = np.array([[-5.0, -5.0], [1.5, -5.0], [1.5, 99.0], [-5.0, 99.0]])
    assert np.array_equal(np.argwhere(fill([square], (4, 3)).any(axis=1)).ravel(), [0, 1])


def test_a_disc_has_the_area_of_a_disc() -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    disc = 50 + 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert abs(fill([disc], (100, 100)).sum() / (np.pi * 1600) - 1) < 0.005
