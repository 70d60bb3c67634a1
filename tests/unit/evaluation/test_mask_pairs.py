import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.evaluation.mask_pairs import LabelMapPair, MaskPair
from crossfold.evaluation.surface import surface_distances, surface_voxels

SPACING_MM = (1.0, 2.0, 4.0)
LABELS = {"left": (1,), "right": (2,), "absent": (3,), "both": (1, 2)}


@pytest.fixture
def maps() -> LabelMapPair:
    reference, prediction = np.zeros((2, 20, 10, 6), np.uint8)
    reference[2:4, 3:6, 2:4], reference[12:15, 3:6, 2:4] = 1, 2
    prediction[3:5, 3:6, 2:4] = 1
    return LabelMapPair(reference, prediction, LABELS, SPACING_MM)


def test_a_crop_holds_both_masks_and_the_margin_as_far_as_the_image_reaches(
    maps: LabelMapPair,
) -> None:
    pair = maps.pair("left", margin_mm=5)
    # 5 voxels of 1 mm, 3 of 2 mm, 2 of 4 mm, from the box 2:5, 3:6, 2:4.
    assert pair.box == (slice(0, 10), slice(0, 9), slice(0, 6))
    np.testing.assert_array_equal(pair.reference, maps.reference[pair.box] == 1)
    np.testing.assert_array_equal(pair.prediction, maps.prediction[pair.box] == 1)


def test_a_union_has_the_voxels_of_its_parts(maps: LabelMapPair) -> None:
    pair = maps.pair("both")
    assert pair.box == (slice(2, 15), slice(3, 6), slice(2, 4))
    assert pair.reference.sum() == 12 + 18
    # 6 voxels in common; 30 and 12 voxels.
    assert pair.dice == pytest.approx(2 * 6 / 42)


def test_a_structure_may_be_compared_with_what_was_predicted_as_another(maps: LabelMapPair) -> None:
    pair = maps.pair("right", predicted_as="left")
    assert pair.box == (slice(3, 15), slice(3, 6), slice(2, 4))
    assert (pair.reference.sum(), pair.prediction.sum()) == (18, 12)


@pytest.mark.parametrize(
    ("structure", "state", "dice"),
    [("left", "ok", 0.5), ("right", "missed", 0), ("absent", "true_absent", np.nan)],
)
def test_states(maps: LabelMapPair, structure: str, state: str, dice: float) -> None:
    pair = maps.pair(structure, margin_mm=5)
    assert pair.state == state
    np.testing.assert_equal(pair.dice, dice)
    if state != "ok":
        assert pair.surface_distances_mm.size == 0


def test_the_band_is_what_a_ball_reaches_from_a_surface(maps: LabelMapPair) -> None:
    pair = maps.pair("left", margin_mm=5)
    for band, mask in zip(pair.band(5.0), (pair.reference, pair.prediction), strict=True):
        to_surface = ndimage.distance_transform_edt(~surface_voxels(mask), sampling=SPACING_MM)
        np.testing.assert_array_equal(band, to_surface <= 5.0)
    of_reference, of_prediction = maps.pair("right", margin_mm=5).band(5.0)
    assert of_reference.any()
    assert not of_prediction.any()


def test_a_margin_does_not_change_surface_distances() -> None:
    def blob(seed: int) -> NDArray[np.bool_]:
        noise = np.random.default_rng(seed).normal(size=(24, 20, 12))
        return ndimage.gaussian_filter(noise, 2) > 0.05

    reference, prediction = blob(0), blob(1)
    expected = np.concatenate(surface_distances(reference, prediction, SPACING_MM))
    padded = (np.pad(mask, 3) for mask in (reference, prediction))
    measured = MaskPair(*padded, SPACING_MM).surface_distances_mm
    np.testing.assert_allclose(measured, expected, rtol=1e-6)
