"""sensitivity.csv: whether a verdict between runs depends on how it was computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.alignment import align
from crossfold.evaluation.statistics.comparisons import (
    COMPARISONS_COLUMNS,
    EXPLORATORY_RESAMPLES,
    Comparison,
    Row,
    comparisons_table,
    measure,
)
from crossfold.evaluation.statistics.plan import CONFIRMATORY
from crossfold.evaluation.statistics.signed_ranks import differences_of
from crossfold.evaluation.statistics.sources import DISTANCES

SENSITIVITY_COLUMNS = [*COMPARISONS_COLUMNS, "variant", "verdict_flips"]

Variant = Callable[[Comparison, StatisticsConfig], Row | None]


def sensitivity_table(
    comparisons: Sequence[Comparison], compared: pd.DataFrame, config: StatisticsConfig
) -> pd.DataFrame:
    """Judge the comparisons between runs again under other choices.

    The variants: `penalised_distance`, a failure is as far as the worst result of any run with the
    same structure, instead of infinitely far; `failures_excluded`; `clusters_ignored`, each scan
    counts as a patient; `zsplit`, half of the ties for either side instead of Pratt's rule;
    `permutation_mean`, a test of the mean difference, for planned comparisons; `brunner_munzel`, a
    test for different subjects whose spreads differ. In each variant, rows to which it does not
    apply keep their numbers, and families are corrected again.

    Returns
    -------
    DataFrame
        The columns `SENSITIVITY_COLUMNS`, rows to which a variant applies; `verdict_flips` says
        whether the verdict is not that of comparisons.csv.
    """
    between_runs = [one for one in comparisons if one.contest.family == "runs"]
    verdicts = comparisons_table(between_runs, config)["verdict"]
    tables = []
    for name, variant in _variants(compared).items():
        rows = [
            None
            if one.row["verdict"] == "refused" or "p_raw" not in one.row
            else variant(one, config)
            for one in between_runs
        ]
        applies = [row is not None for row in rows]
        if not any(applies):
            continue
        varied = [
            one if row is None else replace(one, row=one.row | row)
            for one, row in zip(between_runs, rows, strict=True)
        ]
        table = comparisons_table(varied, config).assign(variant=name)
        table["verdict_flips"] = table["verdict"] != verdicts
        tables.append(table[applies])
    if not tables:
        return pd.DataFrame(columns=SENSITIVITY_COLUMNS)
    return pd.concat(tables, ignore_index=True)


def _variants(compared: pd.DataFrame) -> dict[str, Variant]:
    finite = compared[["structure", *DISTANCES]].replace(np.inf, np.nan)
    farthest = finite.groupby("structure").max().stack().dropna().astype(float).to_dict()
    return {
        "penalised_distance": lambda one, config: _penalised(one, config, farthest),
        "failures_excluded": _failures_excluded,
        "clusters_ignored": _clusters_ignored,
        "zsplit": lambda one, _: _zsplit(one),
        "permutation_mean": lambda one, _: _permutation_mean(one),
        "brunner_munzel": lambda one, _: _brunner_munzel(one),
    }


def _penalised(one: Comparison, config: StatisticsConfig, farthest: dict[Any, float]) -> Row | None:
    if one.metric not in DISTANCES or not _has_failures(one):
        return None
    penalty = farthest.get((one.structure, one.metric))
    if penalty is None:
        return None
    a, b = (
        side.replace({one.metric: {np.inf: penalty}}) for side in (one.aligned.a, one.aligned.b)
    )
    reason = f"failures count as {penalty:g} mm"
    return _measured(replace(one, aligned=replace(one.aligned, a=a, b=b)), config, reason)


def _failures_excluded(one: Comparison, config: StatisticsConfig) -> Row | None:
    if not _has_failures(one):
        return None
    a, b = one.aligned.a, one.aligned.b
    if one.aligned.paired:
        kept = ~(a["failed"] | b["failed"])
        a, b = a[kept], b[kept]
    else:
        a, b = a[~a["failed"]], b[~b["failed"]]
    dropped = one.aligned.n_dropped + len(one.aligned.a) - len(a)
    if not one.aligned.paired:
        dropped += len(one.aligned.b) - len(b)
    aligned = replace(one.aligned, a=a, b=b, n_dropped=dropped)
    return _measured(replace(one, aligned=aligned), config, "failures are left out")


def _clusters_ignored(one: Comparison, config: StatisticsConfig) -> Row | None:
    sides = one.contest.a.rows, one.contest.b.rows
    if all(rows["group"].nunique() == rows["subject"].nunique() for rows in sides):
        return None
    aligned = align(one.contest.a, one.contest.b, one.structure, repeated_scans="ignore")
    patients = one.aligned.a["cluster"].nunique(), one.aligned.b["cluster"].nunique()
    if (len(aligned.a), len(aligned.b)) == patients:
        return None
    return _measured(replace(one, aligned=aligned), config, "each scan counts as a patient")


def _zsplit(one: Comparison) -> Row | None:
    a, b = one.aligned.a, one.aligned.b
    if not one.aligned.paired or a["cluster"].duplicated().any():
        return None
    differences = differences_of(a[one.metric].to_numpy(float), b[one.metric].to_numpy(float))
    if differences.all() or not differences.any():
        return None
    result = stats.wilcoxon(differences, zero_method="zsplit", method="asymptotic")
    return {"test": "wilcoxon_zsplit", "statistic": np.nan, "p_raw": float(result.pvalue)}


def _permutation_mean(one: Comparison) -> Row | None:
    # Where nothing is planned, there are too few resamples for p-values that outlast a correction.
    is_planned = one.row["family_id"] == CONFIRMATORY
    if not is_planned or np.isnan(one.row.get("p_permutation_mean", np.nan)):
        return None
    return {
        "test": "permutation_mean",
        "statistic": np.nan,
        "p_raw": one.row["p_permutation_mean"],
        "effect_name": "mean_difference",
        "effect": one.row["diff_mean"],
        "effect_ci_low": np.nan,
        "effect_ci_high": np.nan,
    }


def _brunner_munzel(one: Comparison) -> Row | None:
    if one.aligned.paired or np.isnan(one.row["p_brunner_munzel"]):
        return None
    p_raw = one.row["p_brunner_munzel"]
    return {"test": "brunner_munzel", "statistic": np.nan, "p_raw": p_raw}


def _has_failures(one: Comparison) -> bool:
    return bool(one.aligned.a["failed"].any() or one.aligned.b["failed"].any())


def _measured(one: Comparison, config: StatisticsConfig, reason: str) -> Row:
    """Numbers of a comparison whose sides were changed."""
    resamples = min(EXPLORATORY_RESAMPLES, config.resamples)
    row = measure(one.aligned, one.metric, config, resamples)
    verdict = "not_computed" if np.isnan(row["p_raw"]) else ""
    return row | {"verdict": verdict, "reason": "; ".join(filter(None, (reason, row["reason"])))}
