"""Two runs on the same subjects: Wilcoxon's signed-rank test and what has to stand beside it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossfold.evaluation.statistics.bootstrap import WEIGHTS_AT_ONCE, resampled_weights
from crossfold.evaluation.statistics.signed_ranks import (
    differences_of,
    hodges_lehmann,
    p_of_signs,
    resampled_ranks,
    signed_ranks,
    sums_of,
)


@dataclass(frozen=True)
class PairedComparison:
    """What is known about the differences a - b of the same subjects; NaN: unknown."""

    n: int
    n_zero: int
    statistic: float = np.nan
    """W+, the sum of the ranks of the subjects in which a is larger."""
    p: float = np.nan
    """Two-sided, of the signed ranks with Pratt's zeros."""
    method: str = ""
    """exact or asymptotic."""
    estimate: float = np.nan
    """Hodges-Lehmann: the median of the averages of all pairs of differences."""
    ci_low: float = np.nan
    ci_high: float = np.nan
    effect: float = np.nan
    """Matched-pairs rank-biserial correlation, (W+ - W-) / sum of all ranks: zeros lower it."""
    effect_ci_low: float = np.nan
    effect_ci_high: float = np.nan
    p_a_better: float = np.nan
    """Share of subjects in which a is better, with half of the ties."""
    mean_difference: float = np.nan
    """Infinite with failures of one side, NaN with infinite differences of both signs."""
    p_permutation_mean: float = np.nan
    """Two-sided, of the mean difference under random signs."""
    note: str = ""
    """Why a value is unknown, in words."""


def compare_paired(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    higher_is_better: bool,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: Sequence[str] | None = None,
) -> PairedComparison:
    """Compare two runs on the same subjects.

    The interval of the Hodges-Lehmann estimate holds the shifts that the test does not reject, that
    of the effect is a percentile bootstrap.

    Parameters
    ----------
    a, b
        Shape (n,), in the same order of subjects, none missing. A failure is the worst value (0 or
        inf); differences are rounded to 1e-9, and two infinite values are a tie.
    higher_is_better
        For `p_a_better`; all other values are about a - b.
    confidence
        Of the intervals, as a fraction.
    resamples, seed
        Of the bootstrap and of the random signs.
    clusters
        Name of each subject's cluster: clusters change their sign, and are drawn, as a whole.

    Returns
    -------
    PairedComparison
        For degenerate input too: `note` says why a value is unknown.
    """
    differences = differences_of(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    n, n_zero = differences.size, int(np.sum(differences == 0))
    if n == 0:
        return PairedComparison(0, 0, note="no pairs")
    members = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    ranks = signed_ranks(differences)
    p, method = p_of_signs(ranks if members is None else sums_of(ranks, members))
    estimate, low, high = hodges_lehmann(differences, confidence, members)
    weights = resampled_weights(n, resamples=resamples, seed=seed, clusters=clusters)
    effect_low, effect_high = _effect_interval(differences, weights, confidence)
    advantage = np.sign(differences) if higher_is_better else -np.sign(differences)
    comparison = PairedComparison(
        n=n,
        n_zero=n_zero,
        statistic=float(ranks[ranks > 0].sum()),
        p=p,
        method=method,
        estimate=estimate,
        ci_low=low,
        ci_high=high,
        effect=float(ranks.sum()) / (n * (n + 1) / 2),
        effect_ci_low=effect_low,
        effect_ci_high=effect_high,
        p_a_better=float(np.mean(advantage) + 1) / 2,
        mean_difference=_mean(differences),
        p_permutation_mean=_p_of_mean(
            differences if members is None else sums_of(differences, members), resamples, seed
        ),
    )
    return replace(comparison, note=_note(comparison, confidence))


def _effect_interval(
    differences: NDArray[np.float64], batches: Iterator[NDArray[np.int64]], confidence: float
) -> tuple[float, float]:
    """Bootstrap the rank-biserial correlation; NaN where it is the same in every resample."""
    effects = []
    for weights in batches:
        totals = weights.sum(axis=1)
        sums = np.einsum("ij,ij->i", weights, resampled_ranks(differences, weights))
        effects.append(sums / (totals * (totals + 1) / 2))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(effects), [tail, 1 - tail])
    return (float(low), float(high)) if low < high else (np.nan, np.nan)


def _p_of_mean(differences: NDArray[np.float64], resamples: int, seed: int) -> float:
    """Return the two-sided p of the mean among all changes of sign, or among random ones.

    As `scipy.stats.permutation_test` with `permutation_type="samples"`, in a seventh of its time.
    """
    if not np.isfinite(differences).all():
        return np.nan
    observed = abs(differences.sum()) * (1 - 1e-12)
    if 2**differences.size <= resamples:
        numbers = np.arange(2**differences.size)[:, np.newaxis]
        signs = 2.0 * (numbers >> np.arange(differences.size) & 1) - 1
        return float(np.mean(np.abs(signs @ differences) >= observed))
    random = np.random.default_rng(seed)
    extreme = 0
    batches = 1 + resamples * differences.size // WEIGHTS_AT_ONCE
    for batch in np.array_split(np.arange(resamples), batches):
        signs = 2.0 * random.integers(2, size=(batch.size, differences.size), dtype=np.int8) - 1
        extreme += int(np.sum(np.abs(signs @ differences) >= observed))
    # The observed signs are one of the possible ones: p is never 0.
    return (extreme + 1) / (resamples + 1)


def _mean(differences: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.mean(differences))


def _note(comparison: PairedComparison, confidence: float) -> str:
    reasons = []
    if comparison.n_zero == comparison.n:
        reasons.append("all differences are zero")
    if np.isnan(comparison.ci_low):
        reasons.append(f"too few pairs for an interval of {confidence:.4g}")
    if np.isnan(comparison.effect_ci_low) and comparison.n_zero < comparison.n:
        reasons.append("the effect is the same in every resample")
    if np.isnan(comparison.p_permutation_mean):
        reasons.append("no test of the mean: a difference is infinite")
    return "; ".join(reasons)
