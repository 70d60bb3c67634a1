from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crossfold.config.preprocessing import (
    CtWindow,
    MriWindow,
    Normalisation,
    PercentileRange,
    TrimmedRange,
    Unchanged,
    ZScore,
)
from crossfold.data.normalisation import HISTOGRAM_BINS, histogram, normalise, otsu_threshold

MASKED = np.array([9e3, 1, 2, 3, 4, 5, -9e3], np.float32)
MASK = np.array([0, 1, 1, 1, 1, 1, 0], bool)


def test_otsu_of_two_values_lies_in_the_lower_bin() -> None:
    """By hand: all thresholds between are equally good; scikit-image too takes the first centre.

    256 bins over [0, 256] are 1 wide. Values 0 lie in the first bin, whose centre is 0.5.
    """
    assert otsu_threshold(np.array([0, 0, 0, 256, 256], np.float32)) == 0.5


def test_otsu_by_hand() -> None:
    """Counts 4, 2, 1, 3 in four bins with the centres 0.5, 1.5, 2.5, 3.5.

    After bin 1: 4 x 6 x (0.5 - (3 + 2.5 + 10.5) / 6)^2 = 24 x 2.1667^2 = 112.67
    After bin 2: 6 x 4 x ((2 + 3) / 6 - (2.5 + 10.5) / 4)^2 = 24 x 2.4167^2 = 140.17
    After bin 3: 7 x 3 x ((2 + 3 + 2.5) / 7 - 3.5)^2 = 21 x 2.4286^2 = 123.86
    """
    values = np.array([0, 0.1, 0.2, 0.3, 1.2, 1.3, 2.5, 3.4, 3.6, 4.0])
    assert otsu_threshold(values, bins=4) == 1.5


@pytest.mark.parametrize(
    ("seed", "expected"),
    # skimage.filters.threshold_otsu of scikit-image 0.26.0 for the same array of float32.
    [(0, 2.004822254180908), (1, 2.4342727661132812), (2, 2.719238758087158)],
)
def test_otsu_is_that_of_scikit_image(seed: int, expected: float) -> None:
    random = np.random.default_rng(seed)
    values = np.concatenate([random.normal(0, 1, 900), random.normal(3 + seed, 2, 500)])
    assert otsu_threshold(values.astype(np.float32)) == pytest.approx(expected, rel=1e-6)


def test_otsu_of_one_value_is_that_value() -> None:
    assert otsu_threshold(np.full(5, 2.5)) == 2.5


@given(st.lists(st.integers(0, 254), min_size=2, max_size=60))
def test_no_other_threshold_separates_better(numbers: list[int]) -> None:
    values = np.array([0, *numbers, 256], float)
    # 256 bins over [0, 256] are 1 wide: every value counts as the centre of its bin.
    binned = np.minimum(values, 255) + 0.5

    def between(threshold: float) -> float:
        below, above = binned[binned <= threshold], binned[binned > threshold]
        return below.size * above.size * (below.mean() - above.mean()) ** 2

    best = max(between(threshold) for threshold in np.arange(255) + 0.5)
    assert between(otsu_threshold(values)) == pytest.approx(best)


AIR_AND_TISSUE = np.array([0] * 30 + [400, 450, 500, 550, 600], np.float32)


def test_mri_window_by_hand() -> None:
    """Otsu's threshold parts air from tissue.

    Tissue has the median 500 and the quartiles 450 and 550, so s = 100 / 1.349 = 74.13. With
    sharpen 1 and tail 0.5 the window is 500 - 74.13 = 425.87 to 500 + 37.06 = 537.06, and 500 lies
    at 2 / 3 of it.
    """
    assert 0 < otsu_threshold(AIR_AND_TISSUE) < 400
    method = MriWindow(method="mri_window", sharpen=1, tail=0.5)
    expected = [0] * 31 + [(450 - 425.871) / 111.193, 2 / 3, 1, 1]
    np.testing.assert_allclose(normalise(AIR_AND_TISSUE, method), expected, atol=1e-5)


def test_the_mri_window_ends_at_otsus_threshold_and_at_the_maximum() -> None:
    threshold = otsu_threshold(AIR_AND_TISSUE)
    method = MriWindow(method="mri_window", sharpen=50, output_range=(-1, 1))
    tissue = np.maximum(AIR_AND_TISSUE, threshold)
    expected = -1 + 2 * (tissue - threshold) / (600 - threshold)
    np.testing.assert_allclose(normalise(AIR_AND_TISSUE, method), expected, atol=1e-6)


def test_trimmed_by_hand() -> None:
    """0 to 100: between the percentiles 10 and 90, both excluded, are 11 to 89.

    Median 50, quartiles 30.5 and 69.5, s = 39 / 1.349 = 28.91; sharpen 1 gives 21.09 to 78.91.
    """
    array = np.arange(101, dtype=np.float32)
    method = TrimmedRange(method="trimmed", percentiles=(10, 90), sharpen=1)
    low, high = 50 - 39 / 1.349, 50 + 39 / 1.349
    expected = np.clip((array - low) / (high - low), 0, 1)
    np.testing.assert_allclose(normalise(array, method), expected, atol=1e-6)


def test_trimmed_is_limited_to_what_is_left() -> None:
    array = np.arange(101, dtype=np.float32)
    method = TrimmedRange(method="trimmed", percentiles=(10, 90), sharpen=9, output_range=(-1, 1))
    values = normalise(array, method)
    assert values[[0, 11, 50, 89, 100]].tolist() == [-1, -1, 0, 1, 1]


def test_outside_of_the_mask_trimmed_is_the_lower_end() -> None:
    method = TrimmedRange(method="trimmed", percentiles=(0, 100), sharpen=9, output_range=(-1, 1))
    values = normalise(MASKED, method, MASK)
    # Strictly between the percentiles 0 and 100 are 2, 3 and 4.
    np.testing.assert_allclose(values, [-1, -1, -1, 0, 1, 1, -1], atol=1e-6)


def test_a_z_score_is_measured_in_the_mask() -> None:
    values = normalise(MASKED, ZScore(), MASK)
    np.testing.assert_allclose(values[1:-1], (np.arange(1, 6) - 3) / np.sqrt(2), atol=1e-6)
    assert values[0] > 1000


def test_percentiles_are_those_of_the_mask() -> None:
    method = PercentileRange(method="percentile", percentiles=(0, 100))
    np.testing.assert_allclose(normalise(MASKED, method, MASK), [1, 0, 0.25, 0.5, 0.75, 1, 0])


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="no voxel lies in the mask"):
        normalise(MASKED, ZScore(), np.zeros(7, bool))


def test_innereyes_ct_window_ends_at_minus_one_and_one() -> None:
    array = np.array([-2000, -250, 50, 350, 3000], np.float32)
    method = CtWindow(method="ct_window", output_range=(-1, 1))
    assert normalise(array, method).tolist() == [-1, -1, 0, 1, 1]


def test_unchanged() -> None:
    assert normalise(MASKED, Unchanged(method="unchanged")).tolist() == MASKED.tolist()


@pytest.mark.parametrize("method", [MriWindow(method="mri_window"), TrimmedRange(method="trimmed")])
def test_an_image_of_one_value_is_the_lower_end(method: MriWindow | TrimmedRange) -> None:
    assert not normalise(np.full((3, 3, 3), 7, np.float32), method).any()


@given(st.floats(0.1, 100), st.floats(0, 1000), st.integers(0, 9))
def test_scale_and_offset_of_an_image_do_not_matter(scale: float, offset: float, seed: int) -> None:
    array = np.random.default_rng(seed).normal(0, 1, 200).astype(np.float32)
    method = TrimmedRange(method="trimmed", sharpen=2)
    np.testing.assert_allclose(
        normalise((array * scale + offset).astype(np.float64), method),
        normalise(array.astype(np.float64), method),
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"method": "ct_window", "output_range": [1, 0]}, "have to rise, not 1, 0"),
        ({"method": "trimmed", "percentiles": [99, 1]}, "have to rise, not 99, 1"),
        ({"method": "mri_window", "sharpen": 0}, "greater than 0"),
        ({"method": "mri_window", "tails": 1}, "did you mean `tail`"),
    ],
)
def test_settings_that_make_no_sense_are_refused(section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Normalisation).validate_python(section)


def test_the_area_of_a_histogram_is_the_share_of_voxels_between_its_ends() -> None:
    array = np.append(np.linspace(0, 1, 9999), 1e6).astype(np.float32)
    bins = histogram(array)
    assert len(bins) == HISTOGRAM_BINS
    assert bins["high"].max() < 2
    area = (bins["density"] * (bins["high"] - bins["low"])).sum()
    assert area == pytest.approx(0.998, abs=2e-4)
    assert histogram(np.full(4, 7.0))["density"].max() > 0
