"""Agreement of two measurements of the same quantity: Bland and Altman's limits."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class BlandAltman:
    """Bias and limits of agreement; NaN: unknown.

    On the raw scale they are differences, prediction - reference, in the unit of the values; on
    the log scale they are ratios, prediction / reference.
    """

    n: int
    bias: float = np.nan
    bias_ci_low: float = np.nan
    bias_ci_high: float = np.nan
    loa_low: float = np.nan
    loa_low_ci_low: float = np.nan
    loa_low_ci_high: float = np.nan
    loa_high: float = np.nan
    loa_high_ci_low: float = np.nan
    loa_high_ci_high: float = np.nan
    slope: float = np.nan
    """Of the differences on the means of the pairs (of their logarithms on the log scale)."""
    slope_p: float = np.nan
    scale: Literal["raw", "log"] = "raw"
    note: str = ""


_LIMIT = stats.norm.ppf(0.975)
# Level of the test whether differences grow with the mean of their pair.
_ALPHA_OF_SPREAD = 0.05


def bland_altman(
    reference: NDArray[np.float64],
    prediction: NDArray[np.float64],
    *,
    confidence: float,
    scale: Literal["raw", "log", "auto"],
) -> BlandAltman:
    """Estimate within which limits 95 % of the differences lie.

    Bland and Altman, Measuring agreement in method comparison studies, Statistical Methods in
    Medical Research 1999: the limits are bias +- 1.96 standard deviations, the variance of a limit
    is (1 / n + 1.96^2 / (2 (n - 1))) times that of the differences, intervals are by Student's t.

    Parameters
    ----------
    reference, prediction
        Shape (n,), in the same order of subjects; pairs with a missing or infinite value are left
        out.
    confidence
        Of the intervals, as a fraction; the limits are those of 95 % of the differences anyway.
    scale
        `auto` is `log` where the differences are larger among larger values (Spearman's
        correlation, p < 0.05) and all values are positive, and `raw` elsewhere. There is no
        logarithm of a missed structure's volume: with such values the scale is `raw` in any case.
    """
    pairs = np.stack([np.asarray(values, dtype=float) for values in (reference, prediction)])
    usable = np.isfinite(pairs).all(axis=0)
    pairs, n, left_out = pairs[:, usable], int(usable.sum()), int(np.sum(~usable))
    notes = [f"pairs left out: {left_out}"] if left_out else []
    if n < 2:
        return BlandAltman(n, note="; ".join([*notes, "needs two pairs"]))
    is_positive = bool(np.all(pairs > 0))
    is_log = is_positive and (scale == "log" or (scale == "auto" and _spreads(pairs)))
    if scale == "log" and not is_positive:
        notes.append("raw scale: a value is not positive")
    if is_log:
        pairs = np.log(pairs)
    difference, mean = pairs[1] - pairs[0], pairs.mean(axis=0)
    if _is_constant(difference):
        notes.append("all differences are equal")
    bias, deviation = difference.mean(), difference.std(ddof=1)
    quantile = stats.t.isf((1 - confidence) / 2, n - 1)
    bias_margin = quantile * deviation / np.sqrt(n)
    limit_margin = quantile * deviation * np.sqrt(1 / n + _LIMIT**2 / (2 * (n - 1)))
    low, high = bias - _LIMIT * deviation, bias + _LIMIT * deviation
    undo = math.exp if is_log else float
    slope, slope_p = _slope(mean, difference)
    return BlandAltman(
        n,
        bias=undo(bias),
        bias_ci_low=undo(bias - bias_margin),
        bias_ci_high=undo(bias + bias_margin),
        loa_low=undo(low),
        loa_low_ci_low=undo(low - limit_margin),
        loa_low_ci_high=undo(low + limit_margin),
        loa_high=undo(high),
        loa_high_ci_low=undo(high - limit_margin),
        loa_high_ci_high=undo(high + limit_margin),
        slope=slope,
        slope_p=slope_p,
        scale="log" if is_log else "raw",
        note="; ".join(notes),
    )


def _spreads(pairs: NDArray[np.float64]) -> bool:
    """Whether the differences are larger among larger values."""
    size, mean = np.abs(pairs[1] - pairs[0]), pairs.mean(axis=0)
    if len(mean) < 3 or _is_constant(size) or _is_constant(mean):
        return False
    correlation = stats.spearmanr(size, mean)
    return bool(correlation.statistic > 0 and correlation.pvalue < _ALPHA_OF_SPREAD)


def _slope(mean: NDArray[np.float64], difference: NDArray[np.float64]) -> tuple[float, float]:
    """Regress the differences on the means; NaN below three pairs or among equal means."""
    if len(mean) < 3 or _is_constant(mean):
        return np.nan, np.nan
    if _is_constant(difference):
        return 0.0, 1.0
    line = stats.linregress(mean, difference)
    return float(line.slope), float(line.pvalue)


def _is_constant(values: NDArray[np.float64]) -> bool:
    """Whether values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, np.abs(values).max()))
