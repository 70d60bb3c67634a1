"""Failures of two runs on the same subjects."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar


@dataclass(frozen=True)
class BinaryComparison:
    """How often either run fails; NaN: unknown."""

    n: int
    failed_a: int
    failed_b: int
    risk_difference: float = np.nan
    """Share of failures of a less that of b."""
    ci_low: float = np.nan
    ci_high: float = np.nan
    p: float = np.nan
    """Two-sided, exact McNemar."""
    note: str = ""


def compare_failures(
    failed_a: NDArray[np.bool_], failed_b: NDArray[np.bool_], *, confidence: float = 0.95
) -> BinaryComparison:
    """Compare the rates of failure of two runs on the same subjects.

    The test is exact (McNemar, Psychometrika 1947, by the binomial distribution of the subjects in
    which only one run fails). The interval of the difference is Tango's score interval (Equivalence
    test and confidence interval for the difference in proportions for the paired-sample design,
    Statistics in Medicine 1998), which keeps its coverage where failures are rare or absent.

    Parameters
    ----------
    failed_a, failed_b
        Shape (n,), in the same order of subjects.
    confidence
        Of the interval, as a fraction.
    """
    failed_a, failed_b = np.asarray(failed_a, dtype=bool), np.asarray(failed_b, dtype=bool)
    n = failed_a.size
    comparison = BinaryComparison(n, int(failed_a.sum()), int(failed_b.sum()))
    if n == 0:
        return replace(comparison, note="no pairs")
    only_a, only_b = int(np.sum(failed_a & ~failed_b)), int(np.sum(failed_b & ~failed_a))
    low, high = _score_interval(only_a, only_b, n, confidence)
    return replace(
        comparison,
        risk_difference=(only_a - only_b) / n,
        ci_low=low,
        ci_high=high,
        p=float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue) if only_a + only_b else 1.0,
        note="" if only_a + only_b else "no subject in which only one run fails",
    )


def _score_interval(only_a: int, only_b: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the differences that the score test does not reject, within [-1, 1]."""
    critical = stats.norm.isf((1 - confidence) / 2)
    found = (only_a - only_b) / n

    def excess(difference: float, bound: float) -> float:
        """Standardised distance of the difference found from a supposed one, beyond a bound."""
        # The most likely share of "only b" under the supposed difference: root of a quadratic.
        linear = (2 * n - only_a + only_b) * difference - only_a - only_b
        root = linear**2 + 8 * n * only_b * difference * (1 - difference)
        share = (np.sqrt(max(0.0, root)) - linear) / (4 * n)
        variance = n * (2 * share + difference * (1 - difference))
        distance = n * (found - difference)
        return float(distance / np.sqrt(max(variance, np.finfo(float).tiny)) - bound)

    ends = [
        limit if found == limit else optimize.brentq(excess, limit, found, args=(bound,))
        for limit, bound in ((-1.0, critical), (1.0, -critical))
    ]
    return ends[0], ends[1]
