"""The summary of a table of metrics: one row per structure and metric, with its interval.

Subjects in which a structure is truly absent are counted (`n_absent`) and otherwise left out of
every number. Failures stay in: `mean`, the quartiles and the confidence interval are over all `n`
subjects, with 0 for the overlap and inf for the distance of a failure, so that the mean of a
distance is empty where a structure failed; `mean_ok` and `sd_ok` leave failures out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals
from crossfold.evaluation.tables import METRICS

_KEYS = ["model", "dataset", "synthetic", "split", "fold", "structure"]
SUMMARY_COLUMNS = [
    *_KEYS,
    *("metric", "unit", "better", "n", "n_absent", "n_missed", "n_hallucinated"),
    *("mean", "mean_ok", "sd_ok", "median", "q1", "q3", "min", "max"),
    *("ci_statistic", "ci_low", "ci_high", "ci_method", "n_resamples", "seed"),
]

HEADLINE = ("dice", "nsd", "hd95_mm")
"""Metrics of `headline`."""

_MIN_SUBJECTS_FOR_INTERVAL = 10
# Stands for inf where numpy would compute inf - inf; its square is still finite.
_HUGE = 1e100


def summarise_metrics(frame: pd.DataFrame, config: StatisticsConfig) -> pd.DataFrame:
    """Summarise each metric over subjects, per model, split, fold and structure.

    Validation rows are pooled over folds (`fold` is `pooled`): every subject was predicted by the
    one model that never saw it. Test rows stay apart by fold, and by `ensemble`.

    Confidence intervals are bootstrapped over subjects: bias-corrected and accelerated (Efron,
    JASA 1987) for a mean, percentile for a median. There is none (`ci_method` is `none`) below 10
    subjects, where a bootstrap covers too little, nor where all subjects have the same value.

    Parameters
    ----------
    frame
        A table of metrics, as `read_metrics` returns it.
    config
        Confidence, number of resamples and seed.

    Returns
    -------
    DataFrame
        The columns `SUMMARY_COLUMNS`.

    Raises
    ------
    CrossfoldError
        If a subject has several rows for one structure: subjects are the unit, and count once.
    """
    pooled = frame.assign(fold=frame["fold"].mask(frame["split"] == "val", "pooled"))
    repeated = pooled[pooled.duplicated([*_KEYS, "subject"])]
    if not repeated.empty:
        first = repeated.iloc[0]
        raise CrossfoldError(
            f"{first['model']}: {first['subject']} has several rows for {first['structure']} in "
            f"{first['split']}, fold {first['fold']}",
            remedy="summarise one seed and one series per subject at a time",
        )
    of_subjects = [key for key in _KEYS if key != "structure"]
    structures, subjects = (
        pooled.groupby(_KEYS, sort=False),
        pooled.groupby(of_subjects, sort=False),
    )
    intervals = pd.concat(
        {key: _intervals(rows, config) for key, rows in subjects}, names=of_subjects
    )
    summary = (
        pd.concat({key: _summarise_structure(rows) for key, rows in structures}, names=_KEYS)
        .reset_index()
        .merge(intervals.reset_index(), how="left", on=[*_KEYS, "metric"])
        .fillna({"ci_method": "none", "n_resamples": 0})
    )
    return summary.assign(seed=config.seed).astype({"n_resamples": int})[SUMMARY_COLUMNS]


def headline(summary: pd.DataFrame) -> dict[str, dict[str, dict[str, float | str]]]:
    """Pick the numbers that `dvc metrics` shows and compares.

    Parameters
    ----------
    summary
        As `summarise_metrics` returns it.

    Returns
    -------
    dict
        By split (val: all subjects out of fold; test: the ensemble), structure and metric of
        `HEADLINE`: the mean of ratios, the median of distances, in which a failure is "inf".
    """
    numbers: dict[str, dict[str, dict[str, float | str]]] = {}
    chosen = summary["fold"].isin(["pooled", "ensemble"]) & summary["metric"].isin(HEADLINE)
    for row in summary[chosen].to_dict("records"):
        number = float(row["mean"] if row["unit"] == "1" else row["median"])
        if not np.isnan(number):
            metrics = numbers.setdefault(row["split"], {}).setdefault(row["structure"], {})
            # JSON knows no infinity.
            metrics[row["metric"]] = float(f"{number:.6g}") if np.isfinite(number) else "inf"
    return numbers


def _summarise_structure(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise one structure, but for its intervals: a row per metric of `METRICS`."""
    states = rows["state"].value_counts()
    present = rows[rows["state"] != "true_absent"]
    values = present[METRICS.index]
    values_ok = values[present["state"] == "ok"]
    quartiles = values.replace(np.inf, _HUGE).quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy()
    return METRICS.assign(
        n=len(present),
        n_absent=states.get("true_absent", 0),
        n_missed=states.get("missed", 0),
        n_hallucinated=states.get("hallucinated", 0),
        mean=values.mean().replace(np.inf, np.nan),
        mean_ok=values_ok.mean(),
        sd_ok=values_ok.std(),
        **dict(zip(["min", "q1", "median", "q3", "max"], _with_inf(quartiles), strict=True)),
    ).rename_axis("metric")


def _intervals(rows: pd.DataFrame, config: StatisticsConfig) -> pd.DataFrame:
    """Bootstrap all structures of the same subjects at once.

    Returns
    -------
    DataFrame
        Indexed by metric and structure, where an interval exists.
    """
    present = rows[rows["state"] != "true_absent"].set_index(["subject", "structure"])
    intervals = []
    methods: dict[Literal["mean", "median"], str] = {"mean": "BCa", "median": "percentile"}
    for statistic, method in methods.items():
        metrics = METRICS.index[METRICS["ci_statistic"] == statistic]
        values = present[metrics].rename_axis(columns="metric").unstack("structure")
        values = values[values.columns[values.count() >= _MIN_SUBJECTS_FOR_INTERVAL]]
        low, high = bootstrap_intervals(
            values.to_numpy(dtype=float),
            statistic,
            confidence=config.confidence,
            resamples=config.resamples,
            seed=config.seed,
        )
        columns = {"ci_low": low, "ci_high": high, "ci_method": method}
        intervals.append(pd.DataFrame(columns, index=values.columns))
    return pd.concat(intervals).dropna().assign(n_resamples=config.resamples)


def _with_inf(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo the replacement of inf by `_HUGE`, also in what was interpolated from it."""
    return np.where(values > np.sqrt(_HUGE), np.inf, values)
