"""Trainings of this folder: what is in results/, and what is under way in the state directory."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crossfold import paths
from crossfold.errors import CrossfoldError

STATES = ("Running", "Interrupted", "Completed")
"""What a training of this folder may be."""

# A training that has been silent for so many of its own epochs, but at least so long, has stopped.
_PATIENCE_EPOCHS = 5
_PATIENCE_S = 300.0
_COLUMNS = {"epoch", "phase", "metric", "value", "lr", "seconds"}


@dataclass(frozen=True, kw_only=True)
class Training:
    """The training of a fold.

    Parameters
    ----------
    model, fold
        Whose it is.
    state
        One of `STATES`.
    epochs
        Epochs that are done; None where the training has not written its table yet.
    age_s
        Seconds since it last wrote something.
    table
        Its training.csv; None where there is none yet.
    """

    model: str
    fold: int
    state: str
    epochs: int | None
    age_s: float
    table: Path | None

    @property
    def label(self) -> str:
        """Name of its curves."""
        return f"{self.model}/fold_{self.fold}"


def find_trainings(
    state_directory: Path,
    *,
    root: Path = Path(),
    status: Collection[str] = STATES,
    now: float | None = None,
) -> list[Training]:
    """Look up the trainings of this folder, by model and fold.

    Parameters
    ----------
    state_directory
        Where the states of running trainings lie.
    root
        The folder that results/ is in.
    status
        States that are wanted, in any case of letters.
    now
        Time that ages are counted to, in seconds since 1970.

    Raises
    ------
    CrossfoldError
        If a status is none of `STATES`, or a training.csv is damaged.
    """
    wanted = {name.lower() for name in status}
    unknown = wanted - {state.lower() for state in STATES}
    if unknown:
        raise CrossfoldError(
            f"--status: no training here is ever {' or '.join(sorted(unknown))}",
            remedy=f"choose from {', '.join(STATES)}",
        )
    now = time.time() if now is None else now
    found = {(one.model, one.fold): one for one in _finished(root, now)}
    found |= {(one.model, one.fold): one for one in _begun(state_directory, now)}
    return [found[key] for key in sorted(found) if found[key].state.lower() in wanted]


def read_training(table: Path) -> pd.DataFrame:
    """Read a training.csv.

    Raises
    ------
    CrossfoldError
        If it is damaged.
    """
    try:
        frame = pd.read_csv(table)
    except (OSError, ValueError) as error:
        raise CrossfoldError(
            f"{table}: not readable ({error})", remedy="train the fold again"
        ) from error
    missing = _COLUMNS - set(frame.columns)
    if missing:
        raise CrossfoldError(
            f"{table}: columns {', '.join(sorted(missing))} are missing",
            remedy="train the fold again",
        )
    return frame


def label_of(table: Path) -> str:
    """Name of the curves in a table by its path, in results/ or in a state directory.

    Examples
    --------
    >>> label_of(Path("results/Prostate/folds/1/training.csv"))
    'Prostate/fold_1'
    >>> label_of(Path(".state/Prostate/fold_1/0a1b/training.csv"))
    'Prostate/fold_1'
    """
    known = re.search(r"([^/]+)/(?:folds/|fold_)(\d+)/", table.as_posix())
    return f"{known[1]}/fold_{known[2]}" if known else table.parent.as_posix()


def epoch_seconds(rows: pd.DataFrame) -> pd.Series:
    """Duration of every epoch in seconds; index: epoch."""
    return rows.groupby("epoch")["seconds"].max()


def _finished(root: Path, now: float) -> Iterator[Training]:
    for table in root.glob(paths.TRAINING.format(model="*", fold="*")):
        fold = table.parent.name
        if fold.isdecimal():
            model = table.parents[2].name
            yield _training(model, int(fold), table, now - table.stat().st_mtime, state="Completed")


def _begun(state_directory: Path, now: float) -> Iterator[Training]:
    """Yield trainings that have not ended; of several of one fold, the last that was at work."""
    for place in state_directory.glob("*/fold_*"):
        fold = place.name.removeprefix("fold_")
        states = []
        for state in place.glob("*/state.pt"):
            with contextlib.suppress(FileNotFoundError):  # a training has just ended
                states.append((state.stat().st_mtime, state))
        if fold.isdecimal() and states:
            changed, state = max(states)
            table = state.with_name(Path(paths.TRAINING).name)
            yield _training(place.parent.name, int(fold), table, now - changed)


def _training(model: str, fold: int, table: Path, age_s: float, *, state: str = "") -> Training:
    epochs, patience_s = None, _PATIENCE_S
    if table.is_file():
        rows = read_training(table)
        epochs = int(rows["epoch"].max()) if len(rows) else 0
        if len(rows):
            patience_s = max(patience_s, _PATIENCE_EPOCHS * float(epoch_seconds(rows).iloc[-1]))
    return Training(
        model=model,
        fold=fold,
        state=state or ("Running" if age_s < patience_s else "Interrupted"),
        epochs=epochs,
        age_s=max(0.0, age_s),
        table=table if epochs is not None else None,
    )
