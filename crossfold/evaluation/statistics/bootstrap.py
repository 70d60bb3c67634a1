"""Bootstrap confidence intervals of many columns at once, by weights of the subjects.

A resample is how often each subject was drawn: the means of all resamples and columns are one
matrix product, a median is where the cumulative weight of the sorted subjects passes one half.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

WEIGHTS_AT_ONCE = 100_000
"""Elements of one batch of weights, which fits into the processor's cache."""

# Bounds memory to about 200 MB.
_ESTIMATES_AT_ONCE = 8_000_000


def bootstrap_intervals(
    values: NDArray[np.float64],
    statistic: Literal["mean", "median"],
    *,
    confidence: float,
    resamples: int,
    seed: int,
    clusters: Sequence[str] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap the subjects (rows) for a confidence interval of each column.

    The interval of a mean is bias-corrected and accelerated (Efron, Better bootstrap confidence
    intervals, JASA 1987), that of a median or of clustered subjects is the percentile interval.
    Columns in which the same subjects count share their resamples, and the interval of a column
    does not depend on the columns beside it.

    Parameters
    ----------
    values
        Shape (n_subjects, n_columns). NaN: the subject does not count in that column. Infinite
        values are allowed: the end of a median's interval may be infinite, while a mean with
        infinite values has no interval.
    statistic
        What the interval is of.
    confidence
        Nominal coverage, as a fraction.
    resamples
        Number of resamples.
    seed
        Seed of the resamples.
    clusters
        Name of each subject's cluster: whole clusters are drawn.

    Returns
    -------
    low, high
        Shape (n_columns,). NaN where there is nothing to resample: fewer than two subjects (or
        clusters), or the same value in all of them.
    """
    values = np.asarray(values, dtype=float)
    names = None if clusters is None else np.asarray(clusters)
    low, high = np.full((2, values.shape[1]), np.nan)
    present = ~np.isnan(values)
    for columns in _columns_of_equal_subjects(present):
        rows = present[:, columns[0]]
        members = None if names is None else names[rows]
        if rows.sum() < 2 or (members is not None and np.unique(members).size < 2):
            continue
        chunks = 1 + columns.size * resamples // _ESTIMATES_AT_ONCE
        for chunk in np.array_split(columns, min(chunks, columns.size)):
            some = values[np.ix_(rows, chunk)]
            low[chunk], high[chunk] = _intervals(
                some,
                statistic,
                confidence,
                resampled_weights(len(some), resamples=resamples, seed=seed, clusters=members),
                accelerated=statistic == "mean" and members is None,
            )
    return low, high


def resampled_weights(
    n_subjects: int,
    *,
    resamples: int,
    seed: int | np.random.SeedSequence,
    clusters: Sequence[str] | NDArray | None = None,
    batch: int | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Yield batches of resamples, shape (batch, n_subjects): how often each subject was drawn."""
    random = np.random.default_rng(seed)
    n_drawn, members = n_subjects, None
    if clusters is not None:
        names, members = np.unique(clusters, return_inverse=True)
        n_drawn = names.size
    batch = batch or max(1, WEIGHTS_AT_ONCE // n_subjects)
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn = random.integers(n_drawn, size=(size, n_drawn))
        drawn += n_drawn * np.arange(size)[:, np.newaxis]
        weights = np.bincount(drawn.ravel(), minlength=size * n_drawn).reshape(size, n_drawn)
        yield weights if members is None else weights[:, members]


def _columns_of_equal_subjects(present: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Group the columns of (n_subjects, n_columns) by the subjects that count in them."""
    groups: dict[bytes, list[int]] = {}
    for column, subjects in enumerate(present.T):
        groups.setdefault(subjects.tobytes(), []).append(column)
    return [np.array(group) for group in groups.values()]


def _intervals(
    values: NDArray[np.float64],
    statistic: str,
    confidence: float,
    batches: Iterator[NDArray[np.int64]],
    *,
    accelerated: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return low and high of columns without missing values."""
    usable = values.min(axis=0) < values.max(axis=0)
    if statistic == "mean":
        usable &= np.isfinite(values).all(axis=0)
    low, high = np.full((2, values.shape[1]), np.nan)
    if not usable.any():
        return low, high
    values = values[:, usable]
    estimate = {"mean": _means, "median": _medians}[statistic]
    estimates = np.concatenate([estimate(weights, values) for weights in batches], axis=1)
    estimates.sort(axis=1)
    tail = (1 - confidence) / 2
    levels = np.tile([[tail], [1 - tail]], (1, len(estimates)))
    if accelerated:
        levels = _accelerated_levels(levels, values, estimates)
    # A median half-way between -inf and inf is nowhere, and neither is its interval.
    levels[:, np.isnan(estimates[:, -1])] = np.nan
    low[usable], high[usable] = (_quantile(estimates, level) for level in levels)
    return low, high


def _means(weights: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each column (rows) in each resample (columns)."""
    return (values.T @ weights.T.astype(float)) / weights.sum(axis=1)


def _medians(weights: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each column (rows) in each resample (columns)."""
    totals = weights.sum(axis=1)
    narrow = np.int16 if totals.max() <= np.iinfo(np.int16).max else np.int64
    of_subject = weights.T.astype(narrow, order="C")
    lower, upper = ((totals - 1) // 2).astype(narrow), (totals // 2).astype(narrow)
    is_middle_unique = np.array_equal(lower, upper)
    medians = np.empty((values.shape[1], len(weights)))
    for column, row in zip(values.T, medians, strict=True):
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        reached = np.cumsum(of_subject[order], axis=0, dtype=narrow)
        row[:] = ordered[np.count_nonzero(reached <= lower, axis=0)]
        if not is_middle_unique:
            with np.errstate(invalid="ignore"):
                row += ordered[np.count_nonzero(reached <= upper, axis=0)]
            row /= 2
    return medians


def _accelerated_levels(
    levels: NDArray[np.float64], values: NDArray[np.float64], estimates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correct the levels (2, n_columns) of the quantiles for bias and for skewness.

    The acceleration of a mean, jackknifed, is the skewness of its values / (6 sqrt(n)).
    """
    centred = values - values.mean(axis=0)
    acceleration = (centred**3).sum(axis=0) / (6 * (centred**2).sum(axis=0) ** 1.5)
    mean = values.mean(axis=0)[:, np.newaxis]
    below = (np.sum(estimates < mean, axis=1) + np.sum(estimates <= mean, axis=1)) / 2
    bias = special.ndtri(below / estimates.shape[1])
    shifted = bias + special.ndtri(levels)
    with np.errstate(invalid="ignore"):  # an estimate beyond all resamples: bias is infinite
        return special.ndtr(bias + shifted / (1 - acceleration * shifted))


def _quantile(ordered: NDArray[np.float64], level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate each sorted row at its own level; between equal infinite values too."""
    position = np.nan_to_num(level) * (ordered.shape[1] - 1)
    before = np.floor(position).astype(int)
    rows = np.arange(len(ordered))
    left = ordered[rows, before]
    right = ordered[rows, np.minimum(before + 1, ordered.shape[1] - 1)]
    share = position - before
    with np.errstate(invalid="ignore"):
        between = np.where((left == right) | (share == 0), left, left + share * (right - left))
    return np.where(np.isnan(level), np.nan, between)
