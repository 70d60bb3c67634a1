from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crossfold.evaluation.statistics.signed_ranks import (
    differences_of,
    hodges_lehmann,
    p_of_signs,
    resampled_ranks,
    signed_ranks,
    sums_of,
)

small_differences = st.lists(st.integers(-4, 4), min_size=1, max_size=10).map(
    lambda values: np.array(values, dtype=float)
)


def p_by_enumeration(ranks: np.ndarray) -> float:
    sums = [np.dot(signs, ranks) for signs in product((-1, 1), repeat=ranks.size)]
    return float(np.mean(np.abs(sums) >= abs(ranks.sum()) - 1e-9))


@settings(deadline=None)
@given(small_differences)
def test_exact_p_is_that_of_all_signs(differences: np.ndarray) -> None:
    ranks = signed_ranks(differences)
    assert p_of_signs(ranks)[0] == pytest.approx(p_by_enumeration(ranks))


@settings(deadline=None)
@given(small_differences, st.integers(1, 4))
def test_clusters_change_their_sign_as_a_whole(differences: np.ndarray, n_clusters: int) -> None:
    clusters = np.arange(differences.size) % n_clusters
    ranks = sums_of(signed_ranks(differences), clusters)
    assert p_of_signs(ranks)[0] == pytest.approx(p_by_enumeration(ranks))


@pytest.mark.parametrize("n", [8, 60, 150])
def test_exact_p_agrees_with_scipy_without_ties(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.2, 1, n)
    p, method = p_of_signs(signed_ranks(differences))
    assert method == "exact"
    assert p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_asymptotic_p_agrees_with_scipy_with_ties_and_zeros() -> None:
    differences = np.random.default_rng(0).integers(-5, 7, 400).astype(float)
    p, method = p_of_signs(signed_ranks(differences))
    expected = stats.wilcoxon(
        differences, zero_method="pratt", correction=True, method="asymptotic"
    )
    assert method == "asymptotic"
    assert p == pytest.approx(expected.pvalue)


def test_resampled_ranks_are_the_ranks_of_the_resample() -> None:
    differences = np.array([3.0, -1, 0, 1, 2, -2, 0])
    weights = np.array([[1, 1, 1, 1, 1, 1, 1], [2, 0, 1, 0, 3, 1, 0], [0, 3, 2, 2, 0, 0, 0]])
    for row, ranks in zip(weights, resampled_ranks(differences, weights), strict=True):
        expected = signed_ranks(np.repeat(differences, row))
        np.testing.assert_allclose(np.repeat(ranks, row), expected)


def test_equal_steps_stay_ties_and_equal_failures_are_zeros() -> None:
    a = np.array([0.3, 0.8, np.inf, np.inf, 5.0])
    b = np.array([0.2, 0.7, np.inf, 4.0, np.inf])
    assert 0.3 - 0.2 != 0.8 - 0.7
    assert differences_of(a, b).tolist() == [0.1, 0.1, 0, np.inf, -np.inf]


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=8, max_size=14, unique=True))
def test_interval_holds_the_shifts_that_are_not_rejected(values: list[int]) -> None:
    # Thirds keep all averages of two differences apart from the shifts.
    differences = np.array(values, dtype=float)
    _, low, high = hodges_lehmann(differences, 0.95)
    for shift, is_inside in ((low - 1 / 3, 0), (low + 1 / 3, 1), (high - 1 / 3, 1)):
        if low + 1 < high:
            p = p_of_signs(signed_ranks(differences - shift))[0]
            assert (p > 0.05) == bool(is_inside)
    assert p_of_signs(signed_ranks(differences - high - 1 / 3))[0] <= 0.05


def test_interval_of_clusters_of_one_is_that_of_subjects() -> None:
    differences = np.random.default_rng(2).normal(size=25)
    expected = hodges_lehmann(differences, 0.95)
    np.testing.assert_allclose(hodges_lehmann(differences, 0.95, np.arange(25)), expected)


def test_interval_of_clusters_is_wider() -> None:
    differences = np.repeat(np.random.default_rng(2).normal(size=12), 4)
    _, low, high = hodges_lehmann(differences, 0.95, np.repeat(np.arange(12), 4))
    _, naive_low, naive_high = hodges_lehmann(differences, 0.95)
    assert low < naive_low < naive_high < high
    assert np.isnan(hodges_lehmann(differences[:20], 0.95, np.repeat(np.arange(5), 4))[1])


def test_failures_may_make_the_interval_infinite() -> None:
    differences = np.array([np.inf, np.inf, np.inf, 1.0, 2.0, 0.5, 0.2, 0.7])
    estimate, low, high = hodges_lehmann(differences, 0.95)
    assert np.isfinite([low]).all()
    assert (estimate, high) == (np.inf, np.inf)
    mixed = np.array([np.inf, -np.inf, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert hodges_lehmann(mixed, 0.9)[0] == 0
