import time

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from crossfold.evaluation.statistics.ranks import (
    RankStability,
    _holm,
    _mean_kendall_tau,
    friedman,
    rank_stability,
)

SCHEMES = ["mean_then_rank", "rank_then_mean", "test_then_rank"]


def stability(values: object, **options: object) -> RankStability:
    defaults = {"higher_is_better": True, "resamples": 500, "seed": 0, "alpha": 0.05}
    return rank_stability(np.array(values, dtype=float), **defaults | options)


def cohort(n_subjects: int, gaps: list[float], noise: float) -> np.ndarray:
    random = np.random.default_rng(0)
    difficulty = random.normal(size=(n_subjects, 1))
    return difficulty + gaps + noise * random.normal(size=(n_subjects, len(gaps)))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_clear_differences_give_a_certain_ranking(scheme: str) -> None:
    result = stability(cohort(40, [0.0, 2.0, 1.0], noise=0.1))
    assert list(result.rankings) == SCHEMES
    ranking = result.rankings[scheme]
    assert ranking.rank.tolist() == [3, 1, 2]
    assert ranking.p_rank1.tolist() == [0, 1, 0]
    assert ranking.rank_counts.tolist() == [[0, 0, 500], [500, 0, 0], [0, 500, 0]]
    assert ranking.rank_ci_low.tolist() == ranking.rank_ci_high.tolist() == [3, 1, 2]
    assert ranking.kendall_tau_mean == 1
    turned = stability(cohort(40, [0.0, 2.0, 1.0], noise=0.1), higher_is_better=False)
    assert turned.rankings[scheme].rank.tolist() == [1, 3, 2]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_small_differences_give_an_uncertain_ranking(scheme: str) -> None:
    ranking = stability(cohort(30, [0.0, 0.005, 0.01], noise=0.3)).rankings[scheme]
    assert (ranking.rank_ci_low < ranking.rank_ci_high).any()
    assert ranking.kendall_tau_mean < 0.95
    assert ranking.rank_counts.sum(axis=1).tolist() == [500] * 3


def test_schemes_by_hand() -> None:
    # Run 0 wins three of four subjects by a little and loses one by much.
    values = [[0.9, 0.8], [0.9, 0.8], [0.9, 0.8], [0.1, 0.8]]
    rankings = stability(values).rankings
    assert rankings["mean_then_rank"].rank.tolist() == [2, 1]
    assert rankings["rank_then_mean"].rank.tolist() == [1, 2]
    assert rankings["test_then_rank"].rank.tolist() == [1, 1]


def test_test_then_rank_counts_significant_wins() -> None:
    values = cohort(25, [0.0, 0.1, 0.3, 0.35], noise=0.2)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    p = [
        stats.wilcoxon(
            values[:, i] - values[:, j],
            zero_method="pratt",
            correction=True,
            alternative="greater",
            method="asymptotic",
        ).pvalue
        for i, j in pairs
    ]
    wins = np.zeros(4)
    for (winner, _), rejected in zip(pairs, multipletests(p, method="holm")[0], strict=True):
        wins[winner] += rejected
    assert 0 < wins.sum() < 6
    expected = stats.rankdata(-wins, method="min")
    assert stability(values).rankings["test_then_rank"].rank.tolist() == expected.tolist()


def test_holm_agrees_with_statsmodels() -> None:
    p = np.random.default_rng(0).random((10, 6)) ** 4
    expected = [multipletests(row, alpha=0.05, method="holm")[0] for row in p]
    np.testing.assert_array_equal(_holm(p, 0.05), expected)


def test_kendall_tau_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    rank, ranks = np.array([1, 2, 2, 4, 5]), random.integers(1, 6, (20, 5))
    expected = np.mean([stats.kendalltau(rank, row).statistic for row in ranks])
    assert _mean_kendall_tau(rank, ranks) == pytest.approx(expected)


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_failed_distances_rank_last_and_missing_subjects_are_left_out() -> None:
    values = cohort(20, [1.0, 2.0, 3.0], noise=0.1)
    values[4, 0] = np.inf
    values[7, 1] = np.nan
    result = stability(values, higher_is_better=False)
    assert result.n == 19
    assert result.rankings["mean_then_rank"].rank.tolist() == [3, 1, 2]
    assert result.rankings["rank_then_mean"].rank.tolist() == [1, 2, 3]
    assert friedman(values).n == 19


def test_eight_runs_take_seconds() -> None:
    values = cohort(200, np.linspace(0, 0.4, 8).tolist(), noise=0.5)
    started = time.process_time()
    stability(values, resamples=1000)
    assert time.process_time() - started < 5


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_degenerate_input_is_explained() -> None:
    for shape in ((0, 3), (1, 3), (5, 1)):
        assert stability(np.ones(shape)).rankings == {}
        assert stability(np.ones(shape)).note == "needs two subjects and two runs"
        assert np.isnan(friedman(np.ones(shape)).p)
    assert friedman(np.ones((5, 2))).note == "needs two subjects and three runs"
    equal = stability(np.full((5, 3), 0.5))
    assert equal.note == "runs are equal"
    assert equal.rankings["test_then_rank"].p_rank1.tolist() == [1, 1, 1]
    assert np.isnan(equal.rankings["mean_then_rank"].kendall_tau_mean)
    assert friedman(np.full((5, 3), 0.5)).p == 1
    # Runs in the same order for everyone: the F of Iman and Davenport is infinite.
    certain = friedman(np.arange(3.0) + np.arange(6.0)[:, np.newaxis])
    assert (certain.chi2, certain.iman_davenport_f) == (12, np.inf)
    assert certain.p_iman_davenport == 0
