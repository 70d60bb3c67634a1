"""Learning curves as TensorBoard reads them: a training's own event files, or ones made for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from crossfold import paths
from crossfold.commands.local import epoch_seconds, read_training
from crossfold.learning.event_files import EventFiles, scalars_of

EVENT_FILES = "*tfevents*"
"""What TensorBoard takes for its own."""


class Curves:
    """Event files below a folder, one for each training, that grow with the tables.

    Parameters
    ----------
    folder
        What is in it is deleted: it can be made again at any time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, EventFiles] = {}
        self._written: dict[str, int] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def update(self, label: str, table: Path) -> None:
        """Show a training under this label, up to its last epoch.

        Event files beside the table hold more than it does: they are shown themselves, through a
        link. Without them, as of a training elsewhere, the rows of the table are written.

        Raises
        ------
        CrossfoldError
            If the table is damaged.
        """
        own = table.parent / Path(paths.TENSORBOARD).name
        if own.is_dir():
            self._link(label, own)
            return
        rows = read_training(table)
        if len(rows) < self._written.get(label, 0):  # the training has begun anew
            self._forget(label)
        target = self._folder / label
        if target.is_symlink():
            target.unlink()
        files = self._files.setdefault(label, EventFiles(target))
        ends = _ends(rows, ended=table.stat().st_mtime)
        for phase, epoch, values in scalars_of(rows[self._written.get(label, 0) :]):
            files.scalars(phase, values, epoch, at=ends[epoch])
        files.flush()
        self._written[label] = len(rows)

    def close(self) -> None:
        """Close the files."""
        for files in self._files.values():
            files.close()

    def _link(self, label: str, events: Path) -> None:
        link = self._folder / label
        if link.is_symlink() and link.readlink() == events.absolute():
            return
        self._forget(label)
        link.unlink(missing_ok=True)  # the training has ended, and left its state directory
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(events.absolute(), target_is_directory=True)

    def _forget(self, label: str) -> None:
        if label in self._files:
            self._files.pop(label).close()
            self._written.pop(label, None)
            shutil.rmtree(self._folder / label)


def _ends(rows: pd.DataFrame, *, ended: float) -> dict[int, float]:
    """When each epoch ended, if the last one did at `ended`, in seconds since 1970."""
    durations_s = epoch_seconds(rows)
    return dict(ended - durations_s.sum() + durations_s.cumsum())
