"""The best trial: its values as a configuration, and how far its score can be believed."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import pandas as pd

from crossfold.search.table import COMPLETE

Row = dict[Hashable, Any]


def best_trial(trials: pd.DataFrame) -> Row | None:
    """Return the row of the finished trial with the highest mean, the earlier of two; or None."""
    finished = trials[(trials["status"] == COMPLETE) & trials["mean"].notna()]
    # Of equal ones, the earlier.
    ordered = finished.sort_values(["mean", "trial"], ascending=[False, True])
    return ordered.head(1).to_dict("records")[0] if len(ordered) else None


def warning(trials: pd.DataFrame) -> str:
    """Say what the score of the best trial is worth."""
    finished = int((trials["status"] == COMPLETE).sum())
    return (
        f"The best score of {finished} trials is optimistic: it was chosen for being high on these "
        "validation subjects. No test subject was read. What the values are worth is said by the "
        "test set of a model that is trained with them."
    )


def gain_text(best: Row) -> str:
    """Say how much better than the model as it is a trial was; empty where that is not known."""
    if math.isnan(best["gain_low"]):
        return ""
    low, high = best["gain_low"], best["gain_high"]
    said = f"95 % interval of the gain over the same subjects: {low:+.3f} to {high:+.3f}"
    return said + (", which may be chance" if low <= 0 else "")


def advice(snippet: str, trials: pd.DataFrame) -> str:
    """Return what a user reads in the end: the best values, and a warning.

    Parameters
    ----------
    snippet
        The best trial as YAML, as `crossfold.search.tuned.snippet` writes it.
    trials
        Table of all trials.
    """
    best = best_trial(trials)
    if best is None:
        return snippet.strip()
    lines = [snippet, warning(trials)]
    if gain := gain_text(best):
        lines.append(f"{gain}.")
    if best["trial"] == trials["trial"].min() and len(trials) > 1:
        lines.append("No trial was better than the first one.")
    return "\n".join(lines)
