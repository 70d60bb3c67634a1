"""The rows that figures are about: one value per subject and structure of each run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import METRICS
from crossfold.paper.figures import Context

FAILED = ("missed", "hallucinated")
LOWER_IS_BETTER = ("hd_mm", "hd95_mm", "assd_mm")


def is_distance(metric: str) -> bool:
    """Return whether less is better, and a failure infinitely far."""
    return metric in LOWER_IS_BETTER


def result_rows(inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    """Read the rows of `context.split`, without structures that are truly absent.

    See `all_rows`.
    """
    rows = all_rows(inputs, context)
    return rows[rows["state"] != "true_absent"].reset_index(drop=True)


def all_rows(inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    """Read the rows of `context.split` of all runs, in the order of runs and structures.

    They come from `compared` where that is an input, and else from `metrics`, of one run. Test
    rows are the ensemble's.

    Returns
    -------
    DataFrame
        The columns of compared.csv; `run` and `structure` are ordered categories, and `failed`
        says whether the structure was missed or hallucinated.
    """
    if "compared" in inputs:
        rows = read_frame(inputs["compared"])
    else:
        rows = read_frame(inputs["metrics"]).assign(run=context.run)
    split = split_of(rows, context)
    rows = rows[rows["split"] == split]
    if split == "test":
        rows = rows[rows["fold"].isin(["ensemble", ""])]
    # A table without rows does not tell which of its columns are numbers.
    rows = rows.astype(dict.fromkeys(METRICS.index.intersection(rows.columns), float))
    rows = rows.assign(
        run=pd.Categorical(rows["run"], _unique([*context.runs]), ordered=True),
        structure=pd.Categorical(rows["structure"], _unique([*context.structures]), ordered=True),
        failed=rows["state"].isin(FAILED),
    )
    rows = rows.dropna(subset=["run", "structure"])
    return rows.sort_values(["structure", "run", "subject"], kind="stable", ignore_index=True)


def split_of(rows: pd.DataFrame, context: Context) -> str:
    """Return the split that figures are about: val where the run has no ensemble on test."""
    tested = (rows["split"] == "test") & (rows["run"] == context.run)
    return "test" if context.split == "test" and tested.any() else "val"


def comparisons_of_runs(
    inputs: Mapping[str, Any], context: Context, *, metric: str, split: str
) -> pd.DataFrame:
    """Read the comparisons of the compared runs (not of folds or institutions) in a metric."""
    found = read_frame(inputs["comparisons"])
    wanted = (found["metric"] == metric) & (found["split"] == split)
    wanted &= (found["group_a"] == "") & (found["group_b"] == "")
    wanted &= found["run_a"].isin(context.runs) & found["run_b"].isin(context.runs)
    return found[wanted & found["structure"].isin(context.structures)]


def with_hub(comparisons: pd.DataFrame, context: Context) -> tuple[str, pd.DataFrame]:
    """Return the run that most comparisons share (this one, if all-against-all), and those."""
    ends = pd.concat([comparisons["run_a"], comparisons["run_b"]]).value_counts()
    hub = max(context.runs, key=lambda run: (ends.get(run, 0), -context.runs.index(run)))
    return hub, comparisons[(comparisons["run_a"] == hub) | (comparisons["run_b"] == hub)]


def quantiles(values: NDArray[np.float64], levels: list[float]) -> NDArray[np.float64]:
    """Return quantiles of values that may be infinite, where numpy computes inf - inf."""
    huge = 1e100
    if not len(values):
        return np.full(len(levels), np.nan)
    found = np.quantile(np.where(np.isinf(values), huge, values), levels)
    return np.where(found > np.sqrt(huge), np.inf, found)


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))
