from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossfold.data.resampling import resample, resample_labels, resampled_shape

sizes = st.integers(1, 12)
shapes = st.tuples(sizes, sizes, sizes)


@given(shapes, *[st.tuples(*[st.floats(0.3, 6)] * 3)] * 2)
def test_the_extent_is_kept_to_half_a_voxel(
    shape: tuple[int, ...], own_mm: tuple[float, ...], target_mm: tuple[float, ...]
) -> None:
    resampled = resampled_shape(shape, own_mm, target_mm)
    assert min(resampled) >= 1
    for size, own, new_size, target in zip(shape, own_mm, resampled, target_mm, strict=True):
        off = abs(size * own - new_size * target)
        assert off <= target / 2 * (1 + 1e-9) or new_size == 1


@given(shapes, shapes, st.floats(-1000, 3000, width=32))
@settings(max_examples=50)
def test_a_constant_image_stays_constant(
    shape: tuple[int, ...], target: tuple[int, ...], value: float
) -> None:
    resampled = resample(np.full(shape, value, np.float32), target)
    assert resampled.shape == target
    assert resampled.dtype == np.float32
    np.testing.assert_allclose(resampled, value, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [8, 16, 64])
def test_edges_stay_where_they_are(size: int) -> None:
    """A ramp in mm has the same value at the same place, whatever the number of voxels."""
    millimetres = np.broadcast_to((np.arange(32) + 0.5)[:, None, None], (32, 3, 3))
    resampled = resample(millimetres, (size, 3, 3))[:, 1, 1]
    expected = (np.arange(size) + 0.5) * 32 / size
    inner = slice(size // 4, -size // 4)
    np.testing.assert_allclose(resampled[inner], expected[inner], atol=1e-3)


def test_fine_texture_does_not_alias() -> None:
    stripes = np.broadcast_to((np.arange(48) % 2)[:, None, None], (48, 4, 4))
    assert np.ptp(resample(stripes, (15, 4, 4))[2:-2]) < 0.3


label_maps = hnp.arrays(np.uint8, shapes, elements=st.integers(0, 3))


@given(label_maps, shapes)
@settings(max_examples=50)
def test_labels_stay_labels(labels: np.ndarray, target: tuple[int, ...]) -> None:
    resampled = resample_labels(labels, target, count=3)
    assert resampled.shape == target
    assert resampled.dtype == np.uint8
    assert {*np.unique(resampled)} <= {0, *np.unique(labels)}


@given(label_maps)
def test_labels_on_their_own_grid_are_left_alone(labels: np.ndarray) -> None:
    np.testing.assert_array_equal(resample_labels(labels, labels.shape, count=3), labels)


def test_labels_return_from_a_finer_grid() -> None:
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3, 1:5, 1:5], labels[3:5, 1:5, 1:5] = 1, 2
    finer = resample_labels(labels, (18, 18, 18), count=2)
    np.testing.assert_array_equal(finer[1::3, 1::3, 1::3], labels)
    np.testing.assert_array_equal(resample_labels(finer, (6, 6, 6), count=2), labels)
