from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crossfold.evaluation.statistics.unpaired import UnpairedComparison, compare_unpaired

group = st.lists(st.integers(0, 5), min_size=1, max_size=5)


def compare(a: object, b: object, **options: object) -> UnpairedComparison:
    defaults = {"higher_is_better": True, "confidence": 0.95, "resamples": 999, "seed": 0}
    return compare_unpaired(
        np.array(a, dtype=float), np.array(b, dtype=float), **defaults | options
    )


@settings(deadline=None)
@given(group, group)
def test_exact_p_is_that_of_all_divisions(a: list[int], b: list[int]) -> None:
    ranks = stats.rankdata(a + b)
    expected = len(a) * (len(ranks) + 1) / 2
    sums = np.array([sum(choice) for choice in combinations(ranks, len(a))])
    as_far = np.abs(sums - expected) >= abs(ranks[: len(a)].sum() - expected) - 1e-9
    assert compare(a, b).p == pytest.approx(as_far.mean())


def test_exact_p_agrees_with_scipy_without_ties() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.5, 1, 40), random.normal(size=45)
    expected = stats.mannwhitneyu(a, b, method="exact")
    result = compare(a, b)
    assert (result.statistic, result.method) == (expected.statistic, "exact")
    assert result.p == pytest.approx(expected.pvalue)


def test_one_subject_against_many_is_exact() -> None:
    # The normal distribution would give 1e-23; one of 101 places at either end is 2 in 101.
    result = compare([1], np.zeros(100))
    assert result.method == "exact"
    assert result.p == pytest.approx(1 / 101)


def test_effects_by_hand() -> None:
    # Of nine pairs a is larger in five, equal in one.
    result = compare([3, 5, 1], [2, 3, 0])
    assert result.statistic == 6.5
    assert result.effect == pytest.approx(2 * 6.5 / 9 - 1)
    assert result.p_a_better == pytest.approx(6.5 / 9)
    assert result.estimate == 1
    worse = compare([3, 5, 1], [2, 3, 0], higher_is_better=False)
    assert worse.p_a_better == pytest.approx(2.5 / 9)
    assert worse.effect == result.effect


def test_exchanging_the_groups_changes_the_signs() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.3, 1, 20).round(1), random.normal(size=13).round(1)
    there, back = compare(a, b), compare(b, a)
    assert there.p == pytest.approx(back.p)
    assert there.p_brunner_munzel == pytest.approx(back.p_brunner_munzel)
    assert [there.ci_low, there.ci_high] == pytest.approx([-back.ci_high, -back.ci_low])
    assert there.effect == pytest.approx(-back.effect)


def test_interval_of_the_effect_agrees_with_scipy() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(0.4, 1, 30).round(1), random.normal(size=40).round(1)

    def effect(first: np.ndarray, second: np.ndarray) -> float:
        return np.sign(first[:, np.newaxis] - second).mean()

    expected = stats.bootstrap(
        (a, b), effect, vectorized=False, method="percentile", n_resamples=4000, rng=1
    ).confidence_interval
    result = compare(a, b, resamples=9999)
    interval = [result.effect_ci_low, result.effect_ci_high]
    assert interval == pytest.approx([expected.low, expected.high], abs=0.03)


def test_groups_of_equal_size_are_resampled_independently() -> None:
    values = np.arange(30.0)
    result = compare(values, values, resamples=9999)
    # Drawn together, the effect would always be 0.
    assert result.effect_ci_high - result.effect_ci_low > 0.4


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_failures_are_the_worst_values() -> None:
    result = compare([1, 2, np.inf, np.inf], [2, np.inf, 3, 4, 5], higher_is_better=False)
    assert result.statistic == 0 + 0.5 + 2 * (4 + 0.5)
    assert result.p_a_better == pytest.approx(1 - 9.5 / 20)
    assert np.isfinite(result.p_brunner_munzel)


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
@pytest.mark.parametrize(("n_a", "n_b"), [(0, 3), (3, 0), (1, 1), (1, 90), (2, 2), (80, 80)])
@pytest.mark.parametrize("difference", [0.0, 1.0, np.inf])
def test_degenerate_input_is_explained(n_a: int, n_b: int, difference: float) -> None:
    result = compare(np.full(n_a, difference), np.zeros(n_b))
    assert result.note
    if 0 in (n_a, n_b):
        assert np.isnan([result.p, result.effect, result.estimate]).all()
    elif difference == 0:
        assert (result.p, result.effect) == (1.0, 0.0)
    else:
        assert result.effect == 1.0
        assert result.estimate == difference
        assert 0 < result.p <= 1
