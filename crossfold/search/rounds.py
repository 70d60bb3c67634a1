"""What came of the trials of a round, added to what is known of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crossfold.images import atomic_path
from crossfold.search.proposals import Proposal
from crossfold.search.stopping import CURVE_COLUMNS, validation_curve
from crossfold.search.table import COMPLETE, LAST_COLUMN, Outcome, trial_row

RESULT, TRAINING, METRICS = "result.json", "training.csv", "metrics.csv"
"""Files in the folder of a fold of a trial; the last two where there is something in them."""


@dataclass(frozen=True)
class Known:
    """What is known after a round.

    Parameters
    ----------
    trials
        One row per trial, as `trial_row` makes them.
    curves
        Columns `CURVE_COLUMNS`: Dice on validation crops by trial, fold and epoch.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame


def collect_round(
    number: int,
    proposals: Sequence[Proposal],
    folders: Mapping[int, Mapping[int, Path]],
    *,
    metric: str,
    structures: Sequence[str],
    groups: Mapping[str, str],
    as_it_is: Sequence[Path] = (),
    before: Known | None = None,
) -> Known:
    """Return what is known after a round.

    Parameters
    ----------
    number
        Number of the round.
    proposals
        What its trials tried.
    folders
        Folder by trial and fold.
    metric, structures
        What is averaged.
    groups
        Patient by subject: the unit of a gain's interval.
    as_it_is
        Folders of the folds of the trial of the model as it is, if there is one.
    before
        What is known after the round before.
    """
    rows, curves = [], []
    unchanged = _metrics_of(as_it_is)
    for proposal in proposals:
        if proposal.trial not in folders:
            continue  # a round is proposed as a whole, though the search may end within it
        outcomes, ends = {}, []
        for fold, folder in folders[proposal.trial].items():
            outcomes[fold] = Outcome.read(folder / RESULT)
            if (folder / TRAINING).is_file():
                curve = validation_curve(pd.read_csv(folder / TRAINING))
                ends += curve.tail(1).tolist()
                curves.append(_curve_rows(proposal.trial, fold, outcomes[fold].status, curve))
        rows.append(
            trial_row(
                proposal.trial,
                number,
                proposal.parameters,
                Outcome.of_folds(outcomes),
                metrics=_metrics_of([*folders[proposal.trial].values()]),
                as_it_is=unchanged,
                crops=sum(ends) / len(ends) if ends else None,
                metric=metric,
                structures=structures,
                groups=groups,
            )
        )
    known = [before.trials] if before else []
    trials = pd.concat([*known, pd.DataFrame(rows)], ignore_index=True)
    columns = [*trials.columns.drop(LAST_COLUMN), LAST_COLUMN]
    known = [before.curves] if before else []
    frames = [frame for frame in (*known, *curves) if len(frame)]
    empty = pd.DataFrame(columns=CURVE_COLUMNS)
    return Known(trials[columns], pd.concat(frames, ignore_index=True) if frames else empty)


def read_curves(path: Path) -> pd.DataFrame:
    """Read the curves that `write_curves` wrote."""
    return pd.read_csv(path)


def write_curves(path: Path, curves: pd.DataFrame) -> None:
    """Write the curves."""
    with atomic_path(path) as temporary:
        curves.to_csv(temporary, index=False, lineterminator="\n")


def finished(curves: pd.DataFrame, fold: int) -> pd.DataFrame:
    """Return the curves of a fold that ended."""
    return curves[(curves["fold"] == fold) & (curves["status"] == COMPLETE)]


def _metrics_of(folders: Sequence[Path]) -> pd.DataFrame:
    """Return metrics.csv of all folds; empty if one of them has not come to its end."""
    files = [folder / METRICS for folder in folders]
    if not files or not all(file.is_file() for file in files):
        return pd.DataFrame()
    return pd.concat([pd.read_csv(file, dtype={"subject": str}) for file in files])


def _curve_rows(trial: int, fold: int, status: str, curve: pd.Series) -> pd.DataFrame:
    frame = pd.DataFrame({"epoch": curve.index, "dice": curve.to_numpy()})
    return frame.assign(trial=trial, fold=fold, status=status)[CURVE_COLUMNS]
