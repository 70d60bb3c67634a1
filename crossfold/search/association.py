"""How much of the scores of a search goes with each parameter."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crossfold.search.table import COMPLETE, parameters_of, value_of

FEWEST_TRIALS = 8
"""Finished trials below which nothing is said."""


def associations(trials: pd.DataFrame) -> dict[str, float]:
    """Return the share of the variance of the scores' ranks that goes with each parameter alone.

    Of numbers, what a parabola over their ranks explains, because the best value is rarely at an
    end; of other values, the share between them (eta squared). It describes these trials: a search
    visits good values more often, and parameters act together.

    Parameters
    ----------
    trials
        Table of the trials.

    Returns
    -------
    dict
        By key in full; empty with fewer than `FEWEST_TRIALS` finished trials. Parameters of which
        all trials had one value are left out.
    """
    finished = trials[(trials["status"] == COMPLETE) & trials["mean"].notna()]
    if len(finished) < FEWEST_TRIALS or finished["mean"].nunique() < 2:
        return {}
    ranks = finished["mean"].rank()
    shares = {}
    for key in parameters_of(trials):
        texts = finished[key]
        if texts.nunique() < 2:
            continue
        # Of the model as it is, a value may be that of the network's own.
        values = texts.map(value_of).dropna()
        if all(type(value) in (int, float) for value in values):
            if len(values) >= FEWEST_TRIALS and values.nunique() > 1:
                scores = finished["mean"][values.index].rank()
                shares[key] = _explained(values.astype(float).rank(), scores)
        else:
            between = ranks.groupby(texts).transform("mean")
            shares[key] = float(between.var(ddof=0) / ranks.var(ddof=0))
    return shares


def _explained(over: pd.Series, ranks: pd.Series) -> float:
    degree = min(2, over.nunique() - 1)
    fitted = np.polynomial.Polynomial.fit(over, ranks, degree)(over.to_numpy())
    return float(np.var(fitted) / np.var(ranks))
