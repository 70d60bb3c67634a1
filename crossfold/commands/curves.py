"""Learning curves as TensorBoard reads them: event files made of training.csv."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from crossfold.commands.local import epoch_seconds, read_training

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
        self._writers: dict[str, EventFileWriter] = {}
        self._written: dict[str, int] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def update(self, label: str, table: Path) -> None:
        """Add the rows of a training.csv that have not been written under this label.

        Raises
        ------
        CrossfoldError
            If the table is damaged.
        """
        rows = read_training(table)
        if len(rows) < self._written.get(label, 0):  # the training has begun anew
            self._writers.pop(label).close()
            shutil.rmtree(self._folder / label)
            del self._written[label]
        written = self._written.get(label, 0)
        if label not in self._writers:
            self._writers[label] = EventFileWriter(str(self._folder / label))
        for event in _events(rows, ended=table.stat().st_mtime)[written:]:
            self._writers[label].add_event(event)
        self._writers[label].flush()
        self._written[label] = len(rows)

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


def _events(rows: pd.DataFrame, *, ended: float) -> list[Event]:
    """One event for each row; `ended` is the time of the last one, in seconds since 1970."""
    durations_s = epoch_seconds(rows)
    times = rows["epoch"].map(ended - durations_s.sum() + durations_s.cumsum())
    return [
        Event(wall_time=time, step=row.epoch, summary=Summary(value=_values(row)))
        for time, row in zip(times, rows.itertuples(index=False), strict=True)
    ]


def _values(row: Any) -> list[Summary.Value]:
    values = [Summary.Value(tag=f"{row.metric}/{row.phase}", simple_value=row.value)]
    if (row.metric, row.phase) == ("loss", "train"):  # the rate is the same in all rows of an epoch
        values.append(Summary.Value(tag="learning_rate", simple_value=row.lr))
    return values
