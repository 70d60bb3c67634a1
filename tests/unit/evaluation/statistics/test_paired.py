import numpy as np
import pytest
from scipy import stats

from crossfold.evaluation.statistics.paired import PairedComparison, compare_paired


def compare(a: object, b: object, **options: object) -> PairedComparison:
    defaults = {"higher_is_better": True, "confidence": 0.95, "resamples": 9999, "seed": 0}
    return compare_paired(np.array(a, dtype=float), np.array(b, dtype=float), **defaults | options)


def test_effects_by_hand() -> None:
    # Differences 1, 2, 3, -4, 0: ranks with Pratt's zero 2, 3, 4, -5, (1); W+ = 9, W- = 5.
    result = compare([2, 4, 6, 1, 5], [1, 2, 3, 5, 5])
    assert (result.n, result.n_zero, result.statistic) == (5, 1, 9)
    assert result.effect == pytest.approx((9 - 5) / 15)
    assert result.p_a_better == pytest.approx((3 + 0.5) / 5)
    assert result.mean_difference == pytest.approx(2 / 5)
    assert compare([2, 4, 6, 1, 5], [1, 2, 3, 5, 5], higher_is_better=False).p_a_better == 0.3


def test_exchanging_the_runs_changes_the_signs() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(0.3, 1, 30).round(1), random.normal(size=30).round(1)
    there, back = compare(a, b), compare(b, a)
    assert there.p == pytest.approx(back.p)
    assert there.estimate == pytest.approx(-back.estimate)
    assert [there.ci_low, there.ci_high] == pytest.approx([-back.ci_high, -back.ci_low])
    assert there.effect == pytest.approx(-back.effect)
    assert there.p_a_better == pytest.approx(1 - back.p_a_better)


@pytest.mark.parametrize("n", [9, 40])
def test_permutation_of_the_mean_agrees_with_scipy(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1, n).round(9)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, rng=1
    )
    # Nine signs are enumerated by both; forty are drawn 9999 times by either.
    tolerance = 1e-12 if n == 9 else 0.02
    result = compare(differences, np.zeros(n))
    assert result.p_permutation_mean == pytest.approx(expected.pvalue, abs=tolerance)


def test_interval_of_the_effect_agrees_with_scipy() -> None:
    differences = np.random.default_rng(4).normal(0.4, 1, 40).round(1)

    def effect(sample: np.ndarray) -> float:
        ranks = np.sign(sample) * stats.rankdata(np.abs(sample))
        return ranks.sum() / (sample.size * (sample.size + 1) / 2)

    result = compare(differences, np.zeros(40))
    expected = stats.bootstrap(
        (differences,), effect, vectorized=False, method="percentile", n_resamples=2000, rng=1
    ).confidence_interval
    assert result.effect == pytest.approx(effect(differences))
    interval = [result.effect_ci_low, result.effect_ci_high]
    assert interval == pytest.approx([expected.low, expected.high], abs=0.04)


def test_repeated_scans_are_less_convincing_as_clusters() -> None:
    of_subject = np.random.default_rng(1).normal(0.4, 1, 12)
    scans = np.repeat(of_subject, 4)
    names = np.repeat([str(subject) for subject in range(12)], 4)
    naive = compare(scans, np.zeros(48))
    clustered = compare(scans, np.zeros(48), clusters=names)
    assert clustered.p > naive.p
    assert clustered.p_permutation_mean > naive.p_permutation_mean
    assert clustered.ci_low < naive.ci_low
    assert clustered.effect_ci_low < naive.effect_ci_low
    assert clustered.estimate == naive.estimate


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_failures_are_the_worst_values() -> None:
    a = [np.inf, 2, 3, np.inf, 1, 2, 1.5, 2.5, 1, 3]
    b = [np.inf, 3, 5, 9, np.inf, 3, 2, 4, 3, 6]
    result = compare(a, b, higher_is_better=False)
    assert (result.n, result.n_zero) == (10, 1)
    assert result.p_a_better == pytest.approx((8 + 0.5) / 10)
    assert np.isnan([result.mean_difference, result.p_permutation_mean]).all()
    assert result.note == "no test of the mean: a difference is infinite"
    # One-sided failures make the mean infinite.
    assert compare(a[4:], b[4:]).mean_difference == -np.inf


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
@pytest.mark.parametrize("clusters", [None, "each", "one"])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 6])
@pytest.mark.parametrize("difference", [0.0, 0.001, np.inf])
def test_degenerate_input_is_explained(n: int, difference: float, clusters: str | None) -> None:
    names = {None: None, "each": [str(i) for i in range(n)], "one": ["same"] * n}[clusters]
    result = compare(np.full(n, 0.5 + difference), np.full(n, 0.5), clusters=names)
    assert result.n == n
    assert result.note
    if n == 0:
        assert np.isnan(result.p)
        return
    n_units = 1 if clusters == "one" else n
    assert result.p == (1.0 if difference == 0 else pytest.approx(2 / 2**n_units))
    assert result.estimate == pytest.approx(difference)
    has_interval = n_units >= 6
    assert np.isnan(result.ci_low) != has_interval
