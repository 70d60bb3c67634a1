"""The table of a search: one row per trial."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import JsonValue
from scipy import stats

from crossfold.config.trials import SECTIONS
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

COMPLETE, STOPPED, FAILED = "complete", "stopped", "failed"
"""What a trial may have come to; of several folds, the last of these that one has come to."""

LAST_COLUMN = "reason"
# Metrics are written with six digits: a standard error below this is none.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Outcome:
    """What came of a trial, or of a fold of it.

    Parameters
    ----------
    status
        One of `COMPLETE`, `STOPPED` and `FAILED`.
    reason
        Why it did not end; empty where it did.
    epochs, seconds
        Epochs that it trained, and how long that took.
    """

    status: str
    reason: str = ""
    epochs: int = 0
    seconds: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """Read what `write` wrote.

        Raises
        ------
        CrossfoldError
            If it is damaged.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CrossfoldError(
                f"{path}: not the result of a trial ({error})",
                remedy="delete its folder; the trial is run again",
            ) from error

    def write(self, path: Path) -> None:
        """Write it."""
        text = json.dumps(asdict(self), indent=2)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def of_folds(cls, folds: Mapping[int, Outcome]) -> Outcome:
        """Return what came of a trial, of what came of its folds."""
        order = [COMPLETE, STOPPED, FAILED]
        reasons = {
            f"fold {fold}: {outcome.reason}" if len(folds) > 1 else outcome.reason
            for fold, outcome in folds.items()
            if outcome.reason
        }
        return cls(
            max((outcome.status for outcome in folds.values()), key=order.index),
            "; ".join(sorted(reasons)),
            sum(outcome.epochs for outcome in folds.values()),
            sum(outcome.seconds for outcome in folds.values()),
        )


def trial_row(
    trial: int,
    round_number: int,
    parameters: Mapping[str, JsonValue],
    outcome: Outcome,
    *,
    metrics: pd.DataFrame,
    as_it_is: pd.DataFrame,
    crops: float | None,
    metric: str,
    structures: Sequence[str],
    groups: Mapping[str, str],
) -> dict[str, Any]:
    """Return the row of a trial: `mean` is what is maximised, `gain` as in `gain_over`.

    Parameters
    ----------
    metrics
        Rows of metrics.csv of its folds; of a complete one.
    as_it_is
        The same of the trial of the model as it is; empty without one.
    crops
        Mean Dice on validation crops in the end.
    metric, structures
        What is averaged: over the subjects of each structure, then over structures.
    groups
        Patient by subject.
    """
    complete = outcome.status == COMPLETE
    means = _means(metrics if complete else pd.DataFrame(), metric, structures)
    return {
        "trial": trial,
        "round": round_number,
        "status": outcome.status,
        "mean": means.mean(),
        **gain_over(as_it_is, metrics, metric, structures, groups),
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "crops": crops,
        **{key: value_text(value) for key, value in parameters.items()},
        **{f"{metric}_{structure}": value for structure, value in means.items()},
        LAST_COLUMN: outcome.reason,
    }


def gain_over(
    before: pd.DataFrame,
    after: pd.DataFrame,
    metric: str,
    structures: Sequence[str],
    groups: Mapping[str, str],
) -> dict[str, float]:
    """Return how far the mean of a trial is above that of another one, with a 95 % interval.

    The gain is the difference of the two means. Its interval is Student's t with the jackknife over
    patients: each is left out of both trials with all scans and structures (MacKinnon et al. 2023,
    "Fast and reliable jackknife and bootstrap methods for cluster-robust inference", J Appl Econom
    38). With one scan each and all structures, it is that of the paired t test. A structure that
    only one patient has says nothing about others, and then there is no interval.

    It is the interval of one comparison. The best of many trials was chosen for its gain, so the
    interval of that trial lies too high.

    Parameters
    ----------
    before, after
        Rows of metrics.csv; may be empty.
    metric, structures
        What is averaged.
    groups
        Patient by subject; a subject that is not named is a patient of its own.

    Returns
    -------
    dict
        gain, gain_low, gain_high; NaN where they cannot be told.
    """
    means = [_means(table, metric, structures).mean() for table in (before, after)]
    gain, low, high = means[1] - means[0], math.nan, math.nan
    if not math.isnan(gain):
        without = _gains_without(before, after, metric, structures, groups)
        error = math.sqrt(len(without) - 1) * without.std(ddof=0, skipna=False)
        if error > _ROUNDING:
            low, high = stats.t.interval(0.95, len(without) - 1, gain, error)
    return {"gain": float(gain), "gain_low": float(low), "gain_high": float(high)}


def _means(metrics: pd.DataFrame, metric: str, structures: Sequence[str]) -> pd.Series:
    """Return the mean over the subjects of each structure; NaN where there are none."""
    if metrics.empty:
        return pd.Series(math.nan, index=[*structures])
    return metrics.groupby("structure")[metric].mean().reindex([*structures])


def _gains_without(
    before: pd.DataFrame,
    after: pd.DataFrame,
    metric: str,
    structures: Sequence[str],
    groups: Mapping[str, str],
) -> pd.Series:
    """Return the gain without each patient; NaN where a structure is then left without anyone."""
    both = pd.concat({"before": before, "after": after}, names=["side"]).reset_index("side")
    both = both[both["structure"].isin(structures)].dropna(subset=[metric])
    patients = both["subject"].map(lambda name: groups.get(name, name))
    cells = both.groupby([patients, "side", "structure"])[metric]
    sums = cells.sum().unstack(["side", "structure"], fill_value=0)
    counts = cells.count().unstack(["side", "structure"], fill_value=0)
    left = counts.sum() - counts
    means = (sums.sum() - sums) / left.where(left > 0)
    of_sides = means.T.groupby(level="side").mean(skipna=False).T
    return of_sides["after"] - of_sides["before"]


def write_trials(path: Path, trials: pd.DataFrame) -> None:
    """Write the table."""
    with atomic_path(path) as temporary:
        trials.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def read_trials(path: Path) -> pd.DataFrame:
    """Read the table: parameters as text, everything else as numbers.

    Raises
    ------
    CrossfoldError
        If it is missing or damaged.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        texts = {"status", LAST_COLUMN, *parameters_of(frame)}
        for column in frame.columns:
            if column not in texts:
                frame[column] = pd.to_numeric(frame[column].replace("", None))
        return frame.astype({"trial": int, "round": int, "epochs": int})
    except (OSError, ValueError, KeyError) as error:
        raise CrossfoldError(
            f"{path}: no table of trials ({error})",
            remedy="make it: `snakemake --cores all results/<Model>/search.csv`",
        ) from error


def parameters_of(trials: pd.DataFrame) -> list[str]:
    """Return the columns of parameters: keys in full."""
    return [name for name in trials.columns if name.partition(".")[0] in SECTIONS]


def value_text(value: JsonValue) -> str:
    """Write a value into a cell: a text as it is, unless it could be read as something else.

    Examples
    --------
    >>> value_text("relu"), value_text([1, 2]), value_text("1"), value_text(0.001)
    ('relu', '[1, 2]', '"1"', '0.001')
    """
    if isinstance(value, str) and value and value_of(value) == value:
        return value
    return json.dumps(value)


def value_of(text: str) -> JsonValue:
    """Read what `value_text` wrote; None where there is nothing."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
