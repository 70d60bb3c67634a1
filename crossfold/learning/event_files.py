"""What TensorBoard shows of a training: scalars under InnerEye's names, and pictures.

Written without torch, whose own writer wraps the same event files: `crossfold monitor` needs none.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Picture
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

TAGS = {"loss": "Loss", "proportion_foreground": "Voxels/ProportionForeground"}
GROUPS = {"dice_": "Dice/", "voxels_": "Voxels/"}
MEAN_DICE = "Dice/AverageExceptBackground"
SECONDS = "TimePerEpoch_Seconds"
RATE = "LearningRate"
TRAIN = "train"


class EventFiles:
    """Event files in a folder, one subfolder for each phase, so that phases share their charts.

    Parameters
    ----------
    folder
        Where they are; files that are there already stay.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, EventFileWriter] = {}

    def scalars(
        self, part: str, values: Mapping[str, float], step: int, *, at: float | None = None
    ) -> None:
        """Add scalars by tag; `at` is when they were measured, in seconds since 1970."""
        summary = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._add(part, Event(step=step, summary=Summary(value=summary)), at)

    def picture(self, part: str, tag: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Add a picture: uint8 (row, column, red green blue)."""
        buffer = io.BytesIO()
        Picture.fromarray(pixels).save(buffer, "PNG")
        image = Summary.Image(
            height=pixels.shape[0],
            width=pixels.shape[1],
            colorspace=3,
            encoded_image_string=buffer.getvalue(),
        )
        value = Summary.Value(tag=tag, image=image)
        self._add(part, Event(step=step, summary=Summary(value=[value])), None)

    def continues_at(self, part: str, step: int) -> None:
        """Say that what was written of this step and later ones did not last."""
        started = SessionLog(status=SessionLog.START)
        self._add(part, Event(step=step, session_log=started), None)

    def _add(self, part: str, event: Event, at: float | None) -> None:
        event.wall_time = time.time() if at is None else at
        if part not in self._writers:
            self._writers[part] = EventFileWriter(str(self.folder / part))
        self._writers[part].add_event(event)

    def flush(self) -> None:
        """Write to the disk what has been added."""
        for writer in list(self._writers.values()):  # another thread may add one
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()


def scalars_of(rows: pd.DataFrame) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Yield phase, epoch and scalars by tag of a training.csv, in the order of its rows.

    Tags are those of InnerEye: `Loss`, `Dice/<structure>`, `Dice/AverageExceptBackground` (the mean
    over structures that have a Dice), `Voxels/<structure>`, `TimePerEpoch_Seconds`, and for the
    training `LearningRate`. Other metrics keep their names.
    """
    for (epoch, phase), group in rows.groupby(["epoch", "phase"], sort=False):
        values = {
            _tag(str(metric)): float(value)
            for metric, value in zip(group["metric"], group["value"], strict=True)
        }
        dice = group.loc[group["metric"].str.startswith("dice_"), "value"].dropna()
        if len(dice):
            values[MEAN_DICE] = float(dice.mean())
        values[SECONDS] = float(group["seconds"].max())
        if phase == TRAIN:
            values[RATE] = float(group["lr"].iloc[-1])
        yield str(phase), int(epoch), values  # type: ignore[call-overload]


def _tag(metric: str) -> str:
    for prefix, group in GROUPS.items():
        if metric.startswith(prefix):
            return group + metric.removeprefix(prefix)
    return TAGS.get(metric, metric)
