import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from monai.metrics import compute_surface_dice
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.evaluation.mask_pairs import MaskPair
from crossfold.evaluation.metrics import measure_structure
from crossfold.evaluation.nsd_curve import nsd_curve

SPACING_MM = (0.8, 1.25, 3.0)
TOLERANCES_MM = [0, 0.8, 1, 1.25, 2, 3, 4, 10]

shapes = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(*[arrays.arrays(bool, shape)] * 2))


def curve(masks: tuple[NDArray, NDArray]) -> NDArray[np.float64]:
    return nsd_curve(MaskPair(*masks, SPACING_MM), TOLERANCES_MM)


def test_three_voxels_by_hand() -> None:
    reference, prediction = np.zeros((2, 4, 1, 1), bool)
    reference[0], prediction[[0, 3]] = True, True
    # From the reference 0 mm; from the prediction 0 mm, and 6 mm, which counts as within 6 mm.
    masks = MaskPair(reference, prediction, (2.0, 1.0, 1.0))
    assert nsd_curve(masks, [6, 0, 5.9]).tolist() == pytest.approx([1, 2 / 3, 2 / 3])


@given(mask_pairs)
@settings(deadline=None)
def test_rises_and_is_the_nsd_of_the_table(masks: tuple[NDArray, NDArray]) -> None:
    measured = curve(masks)
    of_table = [
        measure_structure(*masks, spacing_mm=SPACING_MM, nsd_tolerance_mm=tolerance_mm).nsd
        for tolerance_mm in TOLERANCES_MM
    ]
    np.testing.assert_array_equal(measured, of_table)
    assert not (np.diff(measured) < 0).any()


def test_a_failure_is_zero_at_every_tolerance_and_an_absent_structure_is_missing() -> None:
    present, empty = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    for failure in [(present, empty), (empty, present)]:
        assert curve(failure).tolist() == [0] * len(TOLERANCES_MM)
    assert np.isnan(curve((empty, empty))).all()


def test_same_as_monai() -> None:
    noise = ndimage.gaussian_filter(
        np.random.default_rng(0).normal(size=(2, 24, 20, 12)), sigma=(0, 3, 3, 1.5)
    )
    masks = noise[0] > 0.02, noise[0] + 0.4 * noise[1] > 0.02
    expected, predicted = (
        torch.from_numpy(np.stack([~mask, mask]))[None].float() for mask in masks
    )
    of_monai = [
        float(compute_surface_dice(predicted, expected, [tolerance_mm], spacing=SPACING_MM)[0])
        for tolerance_mm in TOLERANCES_MM
    ]
    assert 0.2 < of_monai[0] < of_monai[-1]
    np.testing.assert_allclose(curve(masks), of_monai, atol=1e-6)
