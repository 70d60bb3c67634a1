import tracemalloc

import numpy as np
import pytest
from scipy import stats

from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals, resampled_weights

OPTIONS = {"confidence": 0.95, "resamples": 9999, "seed": 0}
DICE = np.random.default_rng(0).beta(9, 1, (31, 3))


@pytest.mark.parametrize("n_subjects", [30, 31])
@pytest.mark.parametrize(("statistic", "method"), [("mean", "BCa"), ("median", "percentile")])
def test_intervals_agree_with_scipy(statistic: str, method: str, n_subjects: int) -> None:
    values = DICE[:n_subjects]
    low, high = bootstrap_intervals(values, statistic, **OPTIONS)
    expected = stats.bootstrap(
        (values.T,),
        {"mean": np.mean, "median": np.median}[statistic],
        axis=-1,
        method=method,
        rng=1,
    ).confidence_interval
    # Monte Carlo error of 9999 resamples; a median jumps from one subject to the next.
    tolerance = {"mean": 0.05, "median": 0.12}[statistic] * (expected.high - expected.low)
    assert (np.abs(low - expected.low) < tolerance).all()
    assert (np.abs(high - expected.high) < tolerance).all()


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_weights_give_the_statistic_of_the_subjects_that_they_stand_for(statistic: str) -> None:
    function = {"mean": np.mean, "median": np.median}[statistic]
    weights = np.concatenate([*resampled_weights(30, resamples=200, seed=0)])
    drawn = [function(np.repeat(DICE[:30], row, axis=0), axis=0) for row in weights]
    expected = np.quantile(drawn, [0.025, 0.975], axis=0)
    # A cluster for each subject: the same draws, and the percentile interval for means, too.
    names = [f"{number:02}" for number in range(30)]
    interval = bootstrap_intervals(
        DICE[:30], statistic, confidence=0.95, resamples=200, seed=0, clusters=names
    )
    np.testing.assert_allclose(interval, expected)


def test_missing_subjects_do_not_count_and_columns_do_not_depend_on_each_other() -> None:
    values = DICE.copy()
    values[[2, 5], 1] = np.nan
    together = bootstrap_intervals(values, "mean", **OPTIONS)
    for column in range(3):
        present = values[:, [column]][~np.isnan(values[:, column])]
        alone = bootstrap_intervals(present, "mean", **OPTIONS)
        np.testing.assert_allclose(np.ravel(alone), np.array(together)[:, column])


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        (np.empty((0, 2)), None),
        (np.full((5, 2), np.nan), None),
        (np.array([[1.0, 2.0]]), None),
        (np.ones((20, 2)), None),
        (np.arange(10.0).reshape(5, 2), ["a"] * 5),
    ],
)
@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_nothing_to_resample_is_no_interval(
    values: np.ndarray, clusters: list[str] | None, statistic: str
) -> None:
    interval = bootstrap_intervals(values, statistic, clusters=clusters, **OPTIONS)
    assert np.isnan(interval).all()


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_infinite_values() -> None:
    values = np.arange(20.0)
    values[-6:] = np.inf
    both = np.concatenate([np.full(10, -np.inf), np.full(10, np.inf)])
    low, high = bootstrap_intervals(np.stack([values, both], axis=1), "median", **OPTIONS)
    assert np.isfinite(low[0])
    assert high[0] == np.inf
    assert np.isnan([low[1], high[1]]).all()
    # An infinite mean has no interval.
    assert np.isnan(bootstrap_intervals(values[:, np.newaxis], "mean", **OPTIONS)).all()


def test_clusters_are_drawn_as_a_whole() -> None:
    clusters = ["a", "b", "a", "c", "b"]
    weights = np.concatenate([*resampled_weights(5, resamples=50, seed=3, clusters=clusters)])
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_repeated_scans_widen_the_interval_of_clusters() -> None:
    random = np.random.default_rng(0)
    subjects = random.normal(size=(15, 1))
    scans = (subjects + 0.3 * random.normal(size=(15, 4))).ravel()[:, np.newaxis]
    names = np.repeat([str(subject) for subject in range(15)], 4)
    naive = np.ptp(bootstrap_intervals(scans, "mean", **OPTIONS))
    clustered = np.ptp(bootstrap_intervals(scans, "mean", clusters=names, **OPTIONS))
    assert clustered > 1.6 * naive


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_intervals_cover_nominally(statistic: str) -> None:
    # 1000 samples of 60 subjects are 1000 columns, so that coverage takes one call.
    distribution = stats.beta(9, 1)
    values = distribution.rvs((60, 1000), random_state=0)
    low, high = bootstrap_intervals(values, statistic, confidence=0.9, resamples=999, seed=0)
    truth = getattr(distribution, statistic)()
    # 0.9 within three standard errors of 1000 samples and what a bootstrap lacks at n = 60.
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.9, abs=0.03)


def test_intervals_depend_on_nothing_but_values_and_seed() -> None:
    first, again = (bootstrap_intervals(DICE, "mean", **OPTIONS) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = bootstrap_intervals(DICE, "mean", **OPTIONS | {"seed": 1})
    assert not np.array_equal(first, other)


def test_memory_is_bounded() -> None:
    values = np.random.default_rng(0).random((50, 3000))
    tracemalloc.start()
    bootstrap_intervals(values, "mean", **OPTIONS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6
