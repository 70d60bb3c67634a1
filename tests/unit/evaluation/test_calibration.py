import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from crossfold.evaluation.calibration import (
    Reliability,
    VolumeInterval,
    count_bytes,
    mean_entropy,
)

# Bytes of 0.2, 0.8 and 15 / 17.
LOW, HIGH, HIGHER = 51, 204, 225

samples = st.integers(1, 60).flatmap(
    lambda n: st.tuples(arrays.arrays(np.uint8, n), arrays.arrays(bool, n))
)


def reliability(*groups: tuple[int, int, int]) -> Reliability:
    """Voxels in groups of (byte, voxels, of them in the reference)."""
    counts, positives = np.zeros((2, 256), np.int64)
    for byte, voxels, inside in groups:
        counts[byte], positives[byte] = voxels, inside
    return Reliability(counts, positives)


def test_two_probabilities_by_hand() -> None:
    # 2 of 10 voxels at 0.2 are as announced; 5 of 10 at 0.8 are 3 too few.
    measured = reliability((LOW, 10, 2), (HIGH, 10, 5))
    assert measured.n_voxels == 20
    assert measured.brier == pytest.approx((2 * 0.64 + 8 * 0.04 + 5 * 0.04 + 5 * 0.64) / 20)
    assert measured.ece == pytest.approx(3 / 20)
    assert measured.ace == pytest.approx(3 / 20)


def test_bins_of_equal_mass_see_errors_that_cancel_in_a_bin_of_equal_width() -> None:
    # 0.8 and 15 / 17 share the last bin but one: 2 too many there are 2 too few here.
    measured = reliability((HIGH, 10, 10), (HIGHER, 17, 13))
    assert measured.ece == pytest.approx(0)
    # 2.7 voxels to a bin. Three hold only voxels of 0.8 (0.2 too many each); the next, 1.9 of them
    # and 0.8 of the others (2 / 17 too few each); the last six, 16.2 of the others.
    assert measured.ace == pytest.approx(
        (8.1 * 0.2 + (1.9 * 0.2 - 0.8 * 2 / 17) + 16.2 * 2 / 17) / 27
    )


def test_bins_by_hand() -> None:
    bins = reliability((0, 7, 0), (50, 4, 1), (LOW, 10, 2), (153, 1, 1), (255, 3, 3)).bins()
    assert [(found["bin_low"], found["bin_high"]) for found in bins] == [
        (number / 10, (number + 1) / 10) for number in range(10)
    ]
    assert [found["n_voxels"] for found in bins] == [7, 4, 10, 0, 0, 0, 1, 0, 0, 3]
    confidence = [found["mean_confidence"] for found in bins]
    frequency = [found["frequency"] for found in bins]
    missing = np.nan
    np.testing.assert_allclose(
        confidence, [0, 50 / 255, 0.2, *[missing] * 3, 0.6, missing, missing, 1]
    )
    np.testing.assert_allclose(frequency, [0, 0.25, 0.2, *[missing] * 3, 1, missing, missing, 1])


@given(samples)
@settings(deadline=None)
def test_same_as_voxel_by_voxel(sample: tuple[NDArray[np.uint8], NDArray[np.bool_]]) -> None:
    posterior, reference = sample
    measured = Reliability.measure(posterior, reference)
    probability = posterior / 255
    assert measured.brier == pytest.approx(np.mean((probability - reference) ** 2))
    numbers = np.minimum(posterior.astype(int) * 10 // 255, 9)
    gaps = [
        abs(probability[numbers == number].sum() - reference[numbers == number].sum())
        for number in range(10)
    ]
    assert measured.ece == pytest.approx(sum(gaps) / len(posterior), abs=1e-12)
    assert 0 <= measured.ace <= 1
    assert sum(found["n_voxels"] for found in measured.bins()) == len(posterior)


@pytest.mark.parametrize("sharpened", [False, True])
def test_calibrated_posteriors_have_no_calibration_error(sharpened: bool) -> None:
    generator = np.random.default_rng(0)
    posterior = generator.integers(0, 256, 400_000, dtype=np.uint8)
    reference = generator.random(posterior.size) < posterior / 255
    if sharpened:
        # All or nothing: the true frequencies of the two halves are 1/4 and 3/4.
        posterior = np.where(posterior < 128, 0, 255).astype(np.uint8)
    measured = Reliability.measure(posterior, reference)
    expected = 0.25 if sharpened else 0
    assert measured.ece == pytest.approx(expected, abs=0.003)
    assert measured.ace == pytest.approx(expected, abs=0.003)
    assert measured.brier == pytest.approx(1 / 4 if sharpened else 1 / 6, abs=0.003)


def test_without_voxels_everything_is_missing() -> None:
    empty = reliability()
    assert np.isnan([empty.brier, empty.ece, empty.ace, mean_entropy(empty.counts)]).all()
    assert all(found["n_voxels"] == 0 and np.isnan(found["frequency"]) for found in empty.bins())


def test_entropy_by_hand() -> None:
    bits = -0.2 * np.log2(0.2) - 0.8 * np.log2(0.8)
    counts = count_bytes(np.array([[0, LOW], [HIGH, 255]], np.uint8))
    assert mean_entropy(counts) == pytest.approx(bits / 2)


def test_bytes_are_counted() -> None:
    counts = count_bytes(np.array([[[0, 7], [7, 255]], [[0, 0], [0, 1]]], np.uint8))
    assert {byte: int(counts[byte]) for byte in np.flatnonzero(counts)} == {
        0: 4,
        1: 1,
        7: 2,
        255: 1,
    }
    assert count_bytes(np.array([], np.uint8)).tolist() == [0] * 256


def test_interval_of_a_volume_by_hand() -> None:
    # 6 / 255 is below 0.025 and 7 / 255 above; 248 / 255 is below 0.975 and 249 / 255 above.
    counts = reliability(
        (0, 1000, 0), (6, 5, 0), (7, 4, 0), (LOW, 10, 0), (248, 2, 0), (249, 3, 0), (255, 100, 0)
    ).counts
    interval = VolumeInterval.measure(counts, 0.5)
    expected = (5 * 6 + 4 * 7 + 10 * 51 + 2 * 248 + 3 * 249 + 100 * 255) / 255
    assert interval.expected == pytest.approx(expected / 2)
    assert (interval.low, interval.high) == (103 / 2, 119 / 2)
    assert [interval.holds(volume_ml) for volume_ml in (51.4, 51.5, 55, 59.5, 59.6)] == [
        *(False, True, True, True, False)
    ]


def test_interval_covers_what_it_says_if_the_contour_is_a_level_of_the_posterior() -> None:
    generator = np.random.default_rng(0)
    posterior = generator.integers(0, 256, 5000, dtype=np.uint8)
    interval = VolumeInterval.measure(count_bytes(posterior), 1.0)
    volumes = [float(np.sum(posterior / 255 > level)) for level in generator.uniform(size=4000)]
    assert np.mean([interval.holds(volume) for volume in volumes]) == pytest.approx(0.95, abs=0.015)
    assert np.mean(volumes) == pytest.approx(interval.expected, rel=0.02)
