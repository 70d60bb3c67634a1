"""How much of the scores of a search goes with each parameter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crossfold.config.search import Space
from crossfold.search.table import COMPLETE, parameters_of, value_of, value_text

FEWEST_TRIALS = 8
"""Finished trials below which nothing is said."""


def associations(trials: pd.DataFrame, spaces: Mapping[str, Space]) -> dict[str, float]:
    """Return the share of the variance of the scores' ranks that goes with each parameter alone.

    Of numbers, what a parabola over their ranks explains, because the best value is rarely at an
    end; of other values, the share between them (eta squared). It describes these trials: a search
    visits good values more often, and parameters act together.

    Parameters
    ----------
    trials
        Table of the trials.
    spaces
        The searched values by key in full.

    Returns
    -------
    dict
        By key in full. A parameter is left out where fewer than `FEWEST_TRIALS` finished trials
        have a known value of it, or where all of these, or their scores, are the same.
    """
    finished = trials[(trials["status"] == COMPLETE) & trials["mean"].notna()]
    shares = {}
    for key in parameters_of(trials):
        # The model as it is may have none, or the network's own; null may also be a choice.
        unknown = {""} if None in (spaces[key].choice or ()) else {"", value_text(None)}
        texts = finished.loc[~finished[key].isin(unknown), key]
        ranks = finished.loc[texts.index, "mean"].rank()
        if len(texts) < FEWEST_TRIALS or texts.nunique() < 2 or ranks.nunique() < 2:
            continue
        values = [value_of(text) for text in texts]
        if all(type(value) in (int, float) for value in values):
            shares[key] = _explained(pd.Series(values, dtype=float).rank(), ranks)
        else:
            between = ranks.groupby(texts).transform("mean")
            shares[key] = float(between.var(ddof=0) / ranks.var(ddof=0))
    return shares


def _explained(over: pd.Series, ranks: pd.Series) -> float:
    degree = min(2, over.nunique() - 1)
    fitted = np.polynomial.Polynomial.fit(over, ranks, degree)(over.to_numpy())
    return float(np.var(fitted) / np.var(ranks))
