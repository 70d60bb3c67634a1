"""Several runs on the same subjects: whether they differ, and how stable their ranks are."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from crossfold.evaluation.statistics.bootstrap import resampled_weights
from crossfold.evaluation.statistics.signed_ranks import DECIMALS, differences_of, resampled_ranks

Scheme = Literal["mean_then_rank", "rank_then_mean", "test_then_rank"]

_RESAMPLES_AT_ONCE = 1000


@dataclass(frozen=True)
class Omnibus:
    """Friedman's test of n subjects (blocks) and k runs; NaN: unknown."""

    n: int
    k: int
    chi2: float = np.nan
    p: float = np.nan
    iman_davenport_f: float = np.nan
    p_iman_davenport: float = np.nan
    mean_ranks: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Shape (k,); rank 1 is the lowest value."""
    note: str = ""


@dataclass(frozen=True)
class Ranking:
    """The ranks of k runs by one scheme, rank 1 being the best; ties share the best of theirs."""

    rank: NDArray[np.int64]
    """Shape (k,), on the subjects themselves."""
    rank_ci_low: NDArray[np.float64]
    """Shape (k,): percentiles of the rank in resamples of the subjects."""
    rank_ci_high: NDArray[np.float64]
    p_rank1: NDArray[np.float64]
    """Shape (k,): share of the resamples in which the run is best, alone or with others."""
    rank_counts: NDArray[np.int64]
    """Shape (k, k): in how many resamples the run (row) has rank 1, 2, ... (column)."""
    kendall_tau_mean: float
    """Mean over resamples of Kendall's tau-b between their ranking and that of the subjects."""


@dataclass(frozen=True)
class RankStability:
    """Rankings of k runs on n subjects."""

    n: int
    k: int
    rankings: dict[Scheme, Ranking]
    """Empty where there is nothing to rank."""
    note: str = ""


def friedman(values: NDArray[np.float64]) -> Omnibus:
    """Test whether runs differ at all.

    Friedman (JASA 1937), and the less conservative F of Iman and Davenport (Communications in
    Statistics 1980).

    Parameters
    ----------
    values
        Shape (n_subjects, n_runs); subjects with a NaN are left out. Infinite values are ranked.
    """
    values = _complete(values)
    n, k = values.shape
    if n < 2 or k < 3:
        return Omnibus(n, k, note="needs two subjects and three runs")
    mean_ranks = stats.rankdata(values, axis=1).mean(axis=0)
    if np.all(values == values[:, :1]):
        return Omnibus(
            n, k, p=1.0, p_iman_davenport=1.0, mean_ranks=mean_ranks, note="runs are equal"
        )
    chi2, p = stats.friedmanchisquare(*values.T)
    rest = n * (k - 1) - chi2
    f_value = (n - 1) * chi2 / rest if rest > 1e-9 else np.inf
    return Omnibus(
        n,
        k,
        chi2=float(chi2),
        p=float(p),
        iman_davenport_f=float(f_value),
        p_iman_davenport=float(stats.f.sf(f_value, k - 1, (k - 1) * (n - 1))),
        mean_ranks=mean_ranks,
    )


def rank_stability(
    values: NDArray[np.float64],
    *,
    higher_is_better: bool,
    resamples: int,
    seed: int,
    alpha: float,
) -> RankStability:
    """Rank runs by three schemes, on the subjects and on bootstrap resamples of them.

    The idea and the schemes are those of Wiesenfarth et al., Methods and open-source toolkit for
    analyzing and visualizing challenge results, Scientific Reports 2021:

    - mean_then_rank: by the mean over subjects (a failed distance makes it infinite);
    - rank_then_mean: by the mean of the ranks within each subject;
    - test_then_rank: by the number of other runs that a run beats in a one-sided signed-rank test
      (normal approximation with Pratt's zeros), Holm-adjusted over all ordered pairs.

    Parameters
    ----------
    values
        Shape (n_subjects, n_runs); subjects with a NaN are left out.
    higher_is_better
        Whether the largest value has rank 1.
    resamples, seed
        Of the bootstrap.
    alpha
        Level of the tests; the intervals of the ranks cover 1 - alpha.
    """
    values = _complete(values) * (-1 if higher_is_better else 1)
    n, k = values.shape
    if n < 2 or k < 2:
        return RankStability(n, k, {}, note="needs two subjects and two runs")
    batches = resampled_weights(n, resamples=resamples, seed=seed, batch=_RESAMPLES_AT_ONCE)
    # The first "resample" are the subjects themselves.
    once = np.ones((1, n), dtype=np.int64)
    scores = [_scores(values, weights, alpha) for weights in (once, *batches)]
    rankings: dict[Scheme, Ranking] = {}
    for scheme in scores[0]:
        ranks = _ranks(np.concatenate([batch[scheme] for batch in scores]))
        rankings[scheme] = _ranking(ranks[0], ranks[1:], alpha)
    note = "runs are equal" if np.all(values == values[:, :1]) else ""
    return RankStability(n, k, rankings, note=note)


def _complete(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.round(np.asarray(values, dtype=float), DECIMALS)
    return values[~np.isnan(values).any(axis=1)]


def _scores(
    values: NDArray[np.float64], weights: NDArray[np.int64], alpha: float
) -> dict[Scheme, NDArray[np.float64]]:
    """Score runs by each scheme, low is good; shapes (n, k), (resamples, n), (resamples, k)."""
    infinite = np.isinf(values)
    means = weights @ np.where(infinite, 0.0, values)
    # Failures are infinitely bad, and being equal in that is a tie.
    means = np.where(weights @ infinite > 0, np.inf, means)
    return {
        "mean_then_rank": np.round(means, DECIMALS),
        "rank_then_mean": weights @ stats.rankdata(values, axis=1),
        "test_then_rank": -_wins(values, weights, alpha),
    }


def _wins(
    values: NDArray[np.float64], weights: NDArray[np.int64], alpha: float
) -> NDArray[np.float64]:
    """Count how many other runs a run beats, in each resample; shape (resamples, k)."""
    k = values.shape[1]
    pairs = [(first, second) for first in range(k) for second in range(first + 1, k)]
    z = np.empty((len(weights), 2 * len(pairs)))
    for i, (first, second) in enumerate(pairs):
        ranks = resampled_ranks(differences_of(values[:, second], values[:, first]), weights)
        total = np.einsum("ij,ij->i", weights, ranks) / 2
        deviation = np.sqrt(np.einsum("ij,ij,ij->i", weights, ranks, ranks)) / 2
        # Corrected for continuity, against either direction.
        z[:, 2 * i] = (total - 0.5) / np.maximum(deviation, 0.5)
        z[:, 2 * i + 1] = (-total - 0.5) / np.maximum(deviation, 0.5)
    beaten = _holm(stats.norm.sf(z), alpha)
    wins = np.zeros((len(weights), k))
    for i, (first, second) in enumerate(pairs):
        wins[:, first] += beaten[:, 2 * i]
        wins[:, second] += beaten[:, 2 * i + 1]
    return wins


def _holm(p: NDArray[np.float64], alpha: float) -> NDArray[np.bool_]:
    """Reject hypotheses by Holm's procedure in each row; statsmodels does one row at a time."""
    order = np.argsort(p, axis=1)
    m = p.shape[1]
    within = np.take_along_axis(p, order, axis=1) <= alpha / (m - np.arange(m))
    rejected = np.empty(p.shape, dtype=bool)
    np.put_along_axis(rejected, order, np.logical_and.accumulate(within, axis=1), axis=1)
    return rejected


def _ranks(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank each row, low is good, ties sharing the best of their ranks."""
    return 1 + np.sum(scores[:, np.newaxis, :] < scores[:, :, np.newaxis], axis=2)


def _ranking(rank: NDArray[np.int64], ranks: NDArray[np.int64], alpha: float) -> Ranking:
    """Describe how the ranks of the resamples (resamples, k) lie about those of the subjects."""
    low, high = np.quantile(ranks, [alpha / 2, 1 - alpha / 2], axis=0, method="inverted_cdf")
    counts = np.sum(ranks[:, :, np.newaxis] == 1 + np.arange(rank.size), axis=0)
    return Ranking(
        rank=rank,
        rank_ci_low=low,
        rank_ci_high=high,
        p_rank1=counts[:, 0] / len(ranks),
        rank_counts=counts,
        kendall_tau_mean=_mean_kendall_tau(rank, ranks),
    )


def _mean_kendall_tau(rank: NDArray[np.int64], ranks: NDArray[np.int64]) -> float:
    """Average tau-b over the rows in which it exists; NaN where all ranks are tied."""
    first, second = np.triu_indices(rank.size, 1)
    concordance = np.sign(ranks[:, first] - ranks[:, second])
    reference = np.sign(rank[first] - rank[second])
    norm = np.sqrt(np.sum(reference**2) * np.sum(concordance**2, axis=1))
    exists = norm > 0
    return (
        float(np.mean((concordance @ reference)[exists] / norm[exists])) if exists.any() else np.nan
    )
