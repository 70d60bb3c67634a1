"""Two groups of different subjects: the Mann-Whitney U test and what has to stand beside it."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from crossfold.evaluation.statistics.bootstrap import WEIGHTS_AT_ONCE, resampled_weights
from crossfold.evaluation.statistics.signed_ranks import DECIMALS, HUGE, with_inf

EXACT_UP_TO = 5000
"""Size of the smaller group times that of both, up to which p is exact: 50 against 50."""


@dataclass(frozen=True)
class UnpairedComparison:
    """What is known about two groups of subjects; NaN: unknown."""

    n_a: int
    n_b: int
    statistic: float = np.nan
    """U of a: in how many pairs of subjects a is larger, with half of the ties."""
    p: float = np.nan
    """Two-sided."""
    method: str = ""
    """exact or asymptotic."""
    estimate: float = np.nan
    """Hodges-Lehmann: the median of all differences between a subject of a and one of b."""
    ci_low: float = np.nan
    ci_high: float = np.nan
    effect: float = np.nan
    """Cliff's delta, 2 U / (n_a n_b) - 1."""
    effect_ci_low: float = np.nan
    effect_ci_high: float = np.nan
    p_a_better: float = np.nan
    """Vargha and Delaney's A: probability that a subject of a is better than one of b."""
    p_brunner_munzel: float = np.nan
    """Two-sided; unlike the U test it allows for spreads that differ."""
    note: str = ""
    """Why a value is unknown, in words."""


def compare_unpaired(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    higher_is_better: bool,
    confidence: float,
    resamples: int,
    seed: int,
) -> UnpairedComparison:
    """Compare two groups of different subjects.

    The interval of the Hodges-Lehmann estimate holds the shifts that the test does not reject
    (Hollander and Wolfe, Nonparametric statistical methods, section 4.3; ties change little and
    are not counted), that of the effect is a percentile bootstrap of both groups.

    Parameters
    ----------
    a, b
        Shapes (n_a,) and (n_b,), none missing. A failure is the worst value (0 or inf); values are
        rounded to 1e-9.
    higher_is_better
        For `p_a_better`; all other values are about a - b.
    confidence
        Of the intervals, as a fraction.
    resamples, seed
        Of the bootstrap.

    Returns
    -------
    UnpairedComparison
        For degenerate input too: `note` says why a value is unknown.
    """
    a, b = (np.round(np.asarray(group, dtype=float), DECIMALS) for group in (a, b))
    if a.size == 0 or b.size == 0:
        return UnpairedComparison(a.size, b.size, note="a group is empty")
    larger = np.sign(_differences(a, b))
    effect = float(larger.mean())
    estimate, low, high = _shift(a, b, confidence)
    p, method = _p_of_rank_sum(a, b)
    effect_low, effect_high = _effect_interval(larger, confidence, resamples, seed)
    comparison = UnpairedComparison(
        n_a=a.size,
        n_b=b.size,
        statistic=float(larger.sum() + larger.size) / 2,
        p=p,
        method=method,
        estimate=estimate,
        ci_low=low,
        ci_high=high,
        effect=effect,
        effect_ci_low=effect_low,
        effect_ci_high=effect_high,
        p_a_better=(1 + (effect if higher_is_better else -effect)) / 2,
        p_brunner_munzel=_p_of_brunner_munzel(a, b, larger),
    )
    return replace(comparison, note=_note(comparison, confidence, all_equal=not larger.any()))


def _differences(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a - b of each pair of subjects, shape (n_a, n_b), with infinity made finite."""
    a, b = (np.nan_to_num(group, posinf=HUGE, neginf=-HUGE) for group in (a, b))
    return a[:, np.newaxis] - b


def _shift(
    a: NDArray[np.float64], b: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Return the Hodges-Lehmann shift and its interval, NaN where the groups are too small."""
    differences = np.sort(_differences(a, b), axis=None)
    rank = _critical_rank(min(a.size, b.size), max(a.size, b.size), (1 - confidence) / 2)
    low, high = (differences[rank - 1], differences[-rank]) if rank else (np.nan, np.nan)
    return with_inf(np.median(differences)), with_inf(low), with_inf(high)


def _p_of_rank_sum(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, str]:
    """Return the two-sided p of the Mann-Whitney test, and how it was computed."""
    pooled = np.concatenate([a, b])
    if min(a.size, b.size) * pooled.size > EXACT_UP_TO:
        if np.unique(pooled).size == 1:
            return 1.0, "asymptotic"
        return float(stats.mannwhitneyu(a, b, method="asymptotic").pvalue), "asymptotic"
    # Mid-ranks are multiples of 1/2; without ties the divisor makes them whole again.
    ranks = np.rint(2 * stats.rankdata(pooled)).astype(int)
    ranks //= np.gcd.reduce(ranks)
    drawn = ranks[: a.size] if a.size <= b.size else ranks[a.size :]
    probabilities = _rank_sum_probabilities(tuple(np.sort(ranks).tolist()), drawn.size)
    # Times the number of ranks, to stay in whole numbers: the expected sum may lie between two.
    distance = np.abs(ranks.size * np.arange(probabilities.size) - drawn.size * ranks.sum())
    as_far = distance >= distance[drawn.sum()]
    return min(1.0, float(probabilities[as_far].sum())), "exact"


@lru_cache(maxsize=32)
def _rank_sum_probabilities(ranks: tuple[int, ...], drawn: int) -> NDArray[np.float64]:
    """Return the probability of each sum of `drawn` of the sorted ranks, exact with ties.

    The shift algorithm (Streitberg and Röhmel, Exact distributions for permutation and rank tests,
    Statistical Software Newsletter 1986); scipy has the exact distribution only without ties.
    """
    counts = np.zeros((drawn + 1, sum(ranks[-drawn:]) + 1))
    counts[0, 0] = 1
    for rank in ranks:
        counts[1:, rank:] += counts[:-1, : counts.shape[1] - rank]
    return counts[drawn] / special.binom(len(ranks), drawn)


@lru_cache(maxsize=256)
def _critical_rank(smaller: int, larger: int, tail: float) -> int:
    """Return which of the ordered differences, from either end, is an end of the interval; 0: none.

    It is the number of values of U whose probability, added from below, stays within the tail.
    """
    n = smaller + larger
    if smaller * n > EXACT_UP_TO:
        deviation = math.sqrt(smaller * larger * (n + 1) / 12)
        return max(0, round(smaller * larger / 2 + stats.norm.ppf(tail) * deviation))
    probabilities = _rank_sum_probabilities(tuple(range(1, n + 1)), smaller)
    cumulative = np.cumsum(probabilities[smaller * (smaller + 1) // 2 :])
    return int(np.searchsorted(cumulative, tail, side="right"))


def _effect_interval(
    larger: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Bootstrap Cliff's delta from the signs of all differences, shape (n_a, n_b).

    NaN where it is the same in every resample.
    """
    batches = [
        resampled_weights(
            n, resamples=resamples, seed=group, batch=1 + WEIGHTS_AT_ONCE // max(larger.shape)
        )
        for n, group in zip(larger.shape, np.random.SeedSequence(seed).spawn(2), strict=True)
    ]
    sums = [
        np.einsum("ij,ij->i", weights_a @ larger, weights_b)
        for weights_a, weights_b in zip(*batches, strict=True)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(sums) / larger.size, [tail, 1 - tail])
    return (float(low), float(high)) if low < high else (np.nan, np.nan)


def _p_of_brunner_munzel(
    a: NDArray[np.float64], b: NDArray[np.float64], larger: NDArray[np.float64]
) -> float:
    """Return NaN where the ranks vary in neither group, as in complete separation."""
    varies = any(np.ptp(larger.sum(axis=axis)) > 0 for axis in (0, 1))
    if min(a.size, b.size) < 2 or not varies:
        return np.nan
    return float(stats.brunnermunzel(a, b).pvalue)


def _note(comparison: UnpairedComparison, confidence: float, *, all_equal: bool) -> str:
    reasons = []
    if all_equal:
        reasons.append("all values are equal")
    if np.isnan(comparison.ci_low):
        reasons.append(f"too few subjects for an interval of {confidence:.4g}")
    if np.isnan(comparison.effect_ci_low) and not all_equal:
        reasons.append("the effect is the same in every resample")
    if np.isnan(comparison.p_brunner_munzel) and not all_equal:
        reasons.append("no Brunner-Munzel test: too few subjects, or complete separation")
    return "; ".join(reasons)
