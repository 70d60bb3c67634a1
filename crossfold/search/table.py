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
    means = metrics.groupby("structure")[metric].mean() if complete else pd.Series(dtype=float)
    means = means.reindex([*structures])
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
    """Return by how much the same subjects are better, with a 95 % interval.

    As the mean of a trial, it is averaged over the subjects of each structure, then over
    structures; pairs are those of subject and structure that both have. The interval is Student's
    t over patients, to each of whom belongs the part that all of his scans and structures have in
    the gain (the linearised variance of clusters, Taylor expansion: Woodruff 1971, "A simple method
    for approximating the variance of a complicated estimate", JASA 66); with one scan each and all
    structures it is that of the paired t test.

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
    gain = low = high = math.nan
    if len(before) and len(after):
        tables = [table[table["structure"].isin(structures)] for table in (before, after)]
        of_before, of_after = (
            table.set_index(["structure", "subject"])[metric] for table in tables
        )
        gains = (of_after - of_before).dropna()
        of_structures = gains.groupby("structure")
        means = of_structures.mean()
        gain = float(means.mean())
        share = (gains - of_structures.transform("mean")) / of_structures.transform("size")
        patients = gains.index.get_level_values("subject").map(lambda name: groups.get(name, name))
        parts = share.groupby(patients.to_numpy()).sum() / max(len(means), 1)
        of_patients = gain + len(parts) * parts
        if len(of_patients) > 1 and of_patients.nunique() > 1:
            low, high = stats.ttest_1samp(of_patients, 0).confidence_interval(0.95)
    return {"gain": gain, "gain_low": float(low), "gain_high": float(high)}


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
