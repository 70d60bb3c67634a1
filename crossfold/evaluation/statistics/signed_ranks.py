"""Ranks of paired differences and their null distribution, exact with ties, zeros and clusters.

Zeros are ranked and then left out (Pratt, Remarks on zeros and ties in the Wilcoxon signed rank
procedures, JASA 1959), ties have mid-ranks. Given the ranks, each subject keeps or changes its
sign with probability 1/2, and so does each cluster of subjects as a whole (Rosner, Glynn and Lee,
The Wilcoxon signed rank test for paired comparisons of clustered data, Biometrics 2006). scipy has
the exact distribution only without ties and zeros, and neither has clusters.
"""

import math
from bisect import bisect_left
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

EXACT_UP_TO = 200
"""Number of subjects or clusters up to which p is exact."""

DECIMALS = 9
"""To which metrics and their differences are rounded, so that equal values stay ties."""

HUGE = 1e100
"""Stands for inf where numpy would compute inf - inf; sums of it are still finite."""


def differences_of(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract, rounded so that equal steps stay ties; two equal infinite values are a tie."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, np.round(a - b, DECIMALS))


def signed_ranks(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank the absolute values, zeros included, and give each rank the sign of its difference."""
    return np.sign(differences) * stats.rankdata(np.abs(differences))


def resampled_ranks(
    differences: NDArray[np.float64], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Signed ranks of each subject in each resample; shape of weights, (resamples, n).

    The rank of a subject is what lies below it, and half of what is level with it, copies of its
    own included: a product of the weights with a matrix that is the same for all resamples.
    """
    size = np.abs(differences)
    below = (size < size[:, np.newaxis]) + 0.5 * (size == size[:, np.newaxis])
    sign = np.sign(differences)
    ranks: NDArray[np.float64] = weights.astype(float) @ (below.T * sign)
    ranks += sign / 2
    return ranks


def sums_of(values: NDArray[np.float64], clusters: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum the values (n,) of each cluster, numbered from 0."""
    return np.bincount(clusters, values).astype(float)


def p_of_signs(ranks: NDArray[np.float64]) -> tuple[float, str]:
    """Return the two-sided p of the sum of signed ranks (or of their sums by cluster), and how.

    Exact up to 200 ranks, by adding one rank after the other to the distribution of the sum
    (Streitberg and Röhmel's shift algorithm), else by the normal distribution, corrected for
    continuity.
    """
    ranks = ranks[ranks != 0]
    if ranks.size <= EXACT_UP_TO:
        # Mid-ranks are multiples of 1/2.
        whole = np.rint(2 * ranks).astype(int)
        positive, negative = whole[whole > 0].sum(), -whole[whole < 0].sum()
        tail = _probabilities(np.abs(whole), min(positive, negative)).sum()
        return min(1.0, 2 * float(tail)), "exact"
    away = max(0.0, abs(ranks.sum()) / 2 - 0.5)
    return float(2 * stats.norm.sf(away / (np.sqrt(np.sum(ranks**2)) / 2))), "asymptotic"


def hodges_lehmann(
    differences: NDArray[np.float64],
    confidence: float,
    clusters: NDArray[np.intp] | None = None,
) -> tuple[float, float, float]:
    """Return the median of all averages of two differences, and the shifts that are not rejected.

    Hollander and Wolfe, Nonparametric statistical methods, sections 3.2 and 3.3. A subject is also
    averaged with itself. Failures may make any of the three infinite. The ends are NaN where there
    are too few subjects for this confidence.
    """
    finite = np.nan_to_num(differences, posinf=HUGE, neginf=-HUGE)
    averages = np.sort((finite[:, np.newaxis] + finite)[np.triu_indices(finite.size)] / 2)
    tail = (1 - confidence) / 2
    if clusters is None:
        rank = _critical_rank(finite.size, tail)
        low, high = (averages[rank - 1], averages[-rank]) if rank else (np.nan, np.nan)
    else:
        low = _smallest_shift(averages, finite, clusters, tail)
        high = -_smallest_shift(-averages[::-1], -finite, clusters, tail)
    return with_inf(np.median(averages)), with_inf(low), with_inf(high)


def with_inf(value: float) -> float:
    """Undo the replacement of inf, also in what was averaged from it."""
    return float(np.copysign(np.inf, value) if abs(value) > np.sqrt(HUGE) else value)


def _probabilities(steps: NDArray[np.int64], up_to: int) -> NDArray[np.float64]:
    """Return the probabilities of 0, 1, ..., up_to for a sum that has each step or has it not."""
    divisor = int(np.gcd.reduce(steps)) if steps.size else 1
    probabilities = np.zeros(up_to // divisor + 1)
    probabilities[0] = 1
    for step in steps // divisor:
        probabilities /= 2
        probabilities[step:] += probabilities[: max(0, probabilities.size - step)]
    return probabilities


@cache
def _critical_rank(n: int, tail: float) -> int:
    """Return which of the ordered averages, from either end, is an end of the interval; 0: none.

    It is the number of rank sums whose probability, added from below, stays within the tail.
    """
    if n <= EXACT_UP_TO:
        cumulative = np.cumsum(_probabilities(np.arange(1, n + 1), n * (n + 1) // 4))
        return int(np.searchsorted(cumulative, tail, side="right"))
    deviation = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return round(n * (n + 1) / 4 + stats.norm.ppf(tail) * deviation)


def _smallest_shift(
    averages: NDArray[np.float64],
    differences: NDArray[np.float64],
    clusters: NDArray[np.intp],
    tail: float,
) -> float:
    """Return the smallest shift that the test of clusters does not reject, NaN if there is none.

    The test changes only at the sorted averages: bisect the gaps between them.
    """

    def is_kept(gap: int) -> bool:
        shift = ends[0] - 1 - abs(ends[0]) if gap == 0 else (ends[gap - 1] + ends[gap]) / 2
        ranks = sums_of(signed_ranks(differences - shift), clusters)
        return bool(ranks.sum() <= 0 or p_of_signs(ranks)[0] > 2 * tail)

    ends = np.unique(averages)
    if is_kept(0):
        return np.nan
    gap = bisect_left(range(1, ends.size), True, key=is_kept) + 1
    return float(ends[gap - 1])
