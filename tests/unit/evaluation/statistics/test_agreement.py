import numpy as np
import pytest

from crossfold.evaluation.statistics.agreement import BlandAltman, bland_altman


def agree(reference: object, prediction: object, scale: str = "auto") -> BlandAltman:
    return bland_altman(
        np.array(reference, dtype=float),
        np.array(prediction, dtype=float),
        confidence=0.95,
        scale=scale,
    )


VOLUMES = np.geomspace(1, 100, 40)
NOISE = np.random.default_rng(0).normal(0, 0.1, 40)


def test_differences_that_grow_are_ratios() -> None:
    result = agree(VOLUMES, VOLUMES * np.exp(0.05 + NOISE))
    assert result.scale == "log"
    assert result.bias == pytest.approx(np.exp(0.05 + NOISE.mean()))
    assert result.loa_low * result.loa_high == pytest.approx(result.bias**2)
    assert result.bias_ci_low < result.bias < result.bias_ci_high
    assert agree(VOLUMES, VOLUMES * np.exp(NOISE), "raw").scale == "raw"


def test_differences_that_do_not_grow_stay_differences() -> None:
    result = agree(VOLUMES, VOLUMES + NOISE)
    assert result.scale == "raw"
    assert result.bias == pytest.approx(NOISE.mean())


def test_proportional_bias_has_a_slope() -> None:
    result = agree(VOLUMES, 1.1 * VOLUMES + NOISE, "raw")
    assert result.slope == pytest.approx(0.2 / 2.1, abs=0.01)
    assert result.slope_p < 1e-6


@pytest.mark.parametrize("scale", ["auto", "log"])
def test_a_missed_structure_has_no_logarithm(scale: str) -> None:
    prediction = VOLUMES * np.exp(NOISE)
    prediction[3] = 0
    result = agree(VOLUMES, prediction, scale)
    assert result.scale == "raw"
    assert ("not positive" in result.note) == (scale == "log")


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_degenerate_input_is_explained() -> None:
    for n in (0, 1):
        result = agree(np.ones(n), np.ones(n))
        assert (result.n, result.note) == (n, "needs two pairs")
        assert np.isnan(result.bias)
    missing = agree([1, 2, np.nan, 4], [1, 3, 3, np.inf])
    assert (missing.n, missing.bias) == (2, 0.5)
    assert missing.note == "pairs left out: 2"
    equal = agree(VOLUMES, VOLUMES)
    assert (equal.bias, equal.loa_low, equal.loa_high, equal.slope_p) == (0, 0, 0, 1)
    assert equal.note == "all differences are equal"
    constant = agree(np.ones(5), np.arange(5) - np.arange(5) + 2)
    assert np.isnan(constant.slope)
    mean_constant = agree([1, 2, 3], [3, 2, 1])
    assert np.isnan(mean_constant.slope)
    assert mean_constant.bias == 0
