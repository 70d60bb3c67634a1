"""method.csv: claims about methods, which another division of the subjects should not overturn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.comparisons import Comparison
from crossfold.evaluation.statistics.resampled import corrected_t_test
from crossfold.evaluation.statistics.runs import Run

METHOD_COLUMNS = [
    *("model_a", "model_b", "structure", "metric", "k", "n_train", "n_test"),
    *("diff_mean", "diff_ci_low", "diff_ci_high", "t", "df", "p", "note"),
]


def method_table(
    comparisons: Sequence[Comparison], runs: Sequence[Run], config: StatisticsConfig
) -> pd.DataFrame:
    """Test the mean differences of the folds by the corrected resampled t-test.

    For pairs of runs that were trained and validated on the same folds. p is not corrected for
    multiplicity.

    Returns
    -------
    DataFrame
        The columns `METHOD_COLUMNS`; a row without numbers says in its note why.
    """
    roles = {run.label: run.roles for run in runs}
    table = [
        _tested(one, roles, config)
        for one in comparisons
        if one.contest.family == "runs" and one.contest.split == "val"
    ]
    return pd.DataFrame(table, columns=METHOD_COLUMNS)


def _tested(
    one: Comparison, roles: Mapping[str, pd.DataFrame | None], config: StatisticsConfig
) -> dict[str, Any]:
    contest = one.contest
    row = {
        "model_a": contest.a.label,
        "model_b": contest.b.label,
        "structure": one.structure,
        "metric": one.metric,
    }
    splits = roles[contest.a.label]
    if one.row["verdict"] in ("refused", "not_computed"):
        return row | {"note": one.row["reason"]}
    if contest.folds_differ or splits is None or not one.aligned.paired:
        return row | {"note": "not the same folds, or folds unknown"}
    folds = one.aligned.a["fold"]
    means = [side[one.metric].groupby(folds).mean() for side in (one.aligned.a, one.aligned.b)]
    if not all(np.isfinite(mean).all() for mean in means):
        return row | {"note": "a failure makes the mean of a fold infinite"}
    sizes = splits.groupby(["role", "fold"])["subject"].nunique().groupby("role").mean().round()
    n_train, n_test = (int(sizes.get(role, 0)) for role in ("train", "val"))
    result = corrected_t_test(
        (means[0] - means[1]).to_numpy(),
        n_train=n_train,
        n_test=n_test,
        confidence=config.confidence,
    )
    return row | {
        "k": result.k,
        "n_train": n_train,
        "n_test": n_test,
        "diff_mean": result.mean,
        "diff_ci_low": result.ci_low,
        "diff_ci_high": result.ci_high,
        "t": result.t,
        "df": result.df,
        "p": result.p,
        "note": result.note,
    }
