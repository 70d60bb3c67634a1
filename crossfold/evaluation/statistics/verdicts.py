"""What a comparison says, once its family is known."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.families import adjust
from crossfold.evaluation.statistics.plan import CONFIRMATORY


def correct(p: pd.Series, families: pd.Series) -> dict[str, pd.Series]:
    """Correct p-values: by Holm's method if planned, else by Benjamini and Hochberg's.

    Parameters
    ----------
    p
        p-values; empty ones do not count.
    families
        The family of each.

    Returns
    -------
    dict of Series
        `correction`, `m` (the number of p-values in the family) and `p_adjusted`.
    """
    known = pd.to_numeric(p).astype(float).groupby(families)
    adjusted = {
        family: pd.Series(adjust(one.to_list(), _method(family)), index=one.index)
        for family, one in known
    }
    return {
        "correction": families.map(_method),
        "m": known.transform("count").astype(int),
        "p_adjusted": pd.concat([pd.Series(dtype=float), *adjusted.values()]).reindex(p.index),
    }


def judge(table: pd.DataFrame, config: StatisticsConfig) -> pd.DataFrame:
    """Correct the p-values of each family, and say what follows from them.

    Planned comparisons are one family, corrected by Holm's method; the families of exploratory ones
    are corrected by Benjamini and Hochberg's. Refused and uncomputed comparisons do not count.

    A side is better if its corrected p is below alpha. Otherwise, a is non-inferior to b if the
    confidence interval of the difference lies on the good side of the margin: with an interval of
    95 %, a one-sided test at 2.5 %, which is not corrected for multiplicity.

    Parameters
    ----------
    table
        Columns of comparisons.csv.
    config
        Alpha and margins.

    Returns
    -------
    DataFrame
        A copy with `correction`, `m`, `p_adjusted` and `verdict` filled in.
    """
    judged = table.assign(**correct(table["p_raw"], table["family_id"]))
    is_open = ~table["verdict"].isin(["refused", "not_computed"])
    judged["verdict"] = np.where(is_open, _verdicts(judged, config), table["verdict"])
    return judged


def _verdicts(judged: pd.DataFrame, config: StatisticsConfig) -> NDArray:
    sign = np.where(judged["better"] == "higher", 1, -1)
    advantage = pd.to_numeric(judged["effect"]) * sign
    worst = pd.to_numeric(judged["diff_ci_low"].where(sign > 0, -judged["diff_ci_high"]))
    margin = pd.to_numeric(judged["margin"])
    significant = judged["p_adjusted"] < config.alpha
    return np.select(
        [
            significant & (advantage > 0),
            significant & (advantage < 0),
            worst > -margin,
        ],
        ["a_better", "b_better", "non_inferior"],
        "inconclusive",
    )


def _method(family: Any) -> Literal["holm", "fdr_bh"]:
    return "holm" if family == CONFIRMATORY else "fdr_bh"
