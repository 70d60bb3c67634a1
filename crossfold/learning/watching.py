"""Looking at a running training: TensorBoard, example crops, the log, and batches that are slow.

Nothing here draws at random or touches a weight: without it, training has the same result.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfold.config.diagnostics import DiagnosticsConfig
from crossfold.config.figures import OKABE_ITO
from crossfold.images import atomic_directory, atomic_path
from crossfold.learning.checkpoints import NetworkCard
from crossfold.learning.event_files import MEAN_DICE, TRAIN, EventFiles, scalars_of
from crossfold.learning.resources import ResourceMonitor
from crossfold.paths import EXAMPLE_IMAGES, TENSORBOARD, subject_file

logger = logging.getLogger(__name__)

Batch = TypeVar("Batch")

EVENTS, EXAMPLES = (Path(pattern).name for pattern in (TENSORBOARD, EXAMPLE_IMAGES))
# As in InnerEye: longer waits than this are warned about, a few times.
SLOW_BATCH_S = 0.5
MOST_WARNINGS = 3
# Normalised intensities are kept as int16 in units of this.
IMAGE_UNIT = 0.001
_LAST_EPOCHS = 5


class Watch:
    """Watches the training of a fold.

    Parameters
    ----------
    directory
        The training's state directory, where event files and example crops grow.
    fold, epochs
        Number of the fold and of all epochs.
    card
        Grid and size of the crops.
    coarsening
        Factor along x, y, z by which crops are averaged in steps at half resolution.
    history
        Table of the training that this one continues; of later epochs, which were lost,
        TensorBoard forgets the values.
    device
        Where the network runs.
    config
        Section `diagnostics`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fold: int,
        epochs: int,
        card: NetworkCard,
        coarsening: Sequence[int],
        history: pd.DataFrame,
        device: torch.device,
        config: DiagnosticsConfig,
    ) -> None:
        self.directory, self.fold, self.epochs = directory, fold, epochs
        self.card, self.coarsening, self.config = card, coarsening, config
        if history.empty:
            for name in (EVENTS, EXAMPLES):
                shutil.rmtree(directory / name, ignore_errors=True)
        for name in (EVENTS, EXAMPLES):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self._events = EventFiles(directory / EVENTS)
        for phase, rows in history.groupby("phase"):
            self._events.continues_at(str(phase), int(rows["epoch"].max()) + 1)
        self._earlier_s = float(history.groupby("epoch")["seconds"].max().sum())
        self._monitor = ResourceMonitor(device, config.resources_every_s, self._tell_resources)
        self._durations: deque[float] = deque(maxlen=_LAST_EPOCHS)
        self._epoch_began = time.perf_counter()
        self._laps: dict[int, dict[str, float]] = {}
        self._warnings = 0

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self._monitor.stop()
        self._events.close()

    @property
    def resources(self) -> dict[str, dict[str, float]]:
        """Mean and maximum of the use of resources, by name."""
        return self._monitor.summary()

    def batches(self, steps: Sequence[int], batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches, and warn where waiting for one took longer than using it."""
        iterator = iter(batches)
        for step in steps:
            asked = time.perf_counter()
            batch = next(iterator)
            got = time.perf_counter()
            yield batch
            self._judge(step, waited=got - asked, used=time.perf_counter() - got)

    def laps(self, step: int) -> Callable[[str], None]:
        """Return a function to call after every part of the making of a batch, with its name."""
        laps = self._laps[step] = {}
        last = time.perf_counter()

        def lap(part: str) -> None:
            nonlocal last
            now = time.perf_counter()
            laps[part] = now - last
            last = now

        return lap

    def _judge(self, step: int, *, waited: float, used: float) -> None:
        parts = self._laps.pop(step, {})
        if waited < max(SLOW_BATCH_S, used) or self._warnings >= MOST_WARNINGS:
            return
        self._warnings += 1
        where = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts.items())
        logger.warning(
            "fold %d, step %d: waited %.2f s for its batch, which was then used for %.2f s (%s)%s",
            *(self.fold, step + 1, waited, used, where or "parts unknown"),
            "; no more of these warnings" if self._warnings == MOST_WARNINGS else "",
        )

    @torch.no_grad()
    def example(
        self,
        epoch: int,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,
        subjects: Sequence[str],
    ) -> None:
        """Keep the first crop of a batch, with its labels and prediction, if it is time for one.

        Parameters
        ----------
        epoch
            Which one.
        images
            First channel as the network sees it, (crop, x, y, z).
        labels
            (crop, x, y, z), on the same grid.
        logits
            (crop, class, x, y, z), on the same grid.
        subjects
            The subject of each crop.
        """
        if epoch % self.config.example_images_every and epoch != self.epochs:
            return
        image = images[0].float().cpu().numpy()
        label = labels[0].to(torch.uint8).cpu().numpy()
        prediction = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        is_coarse = np.array(image.shape) < self.card.patch_size
        spacing_mm = np.where(is_coarse, self.coarsening, 1) * self.card.spacing_mm
        stored = np.clip(np.rint(image / IMAGE_UNIT), -32768, 32767).astype(np.int16)
        for name, array in (("image", stored), ("label", label), ("prediction", prediction)):
            nifti = nib.Nifti1Image(array, np.diag([*spacing_mm, 1.0]))
            if name == "image":
                nifti.header.set_slope_inter(IMAGE_UNIT, 0)
            suffix = f"_epoch_{epoch:03d}_{name}.nii.gz"
            with atomic_path(
                subject_file(self.directory / EXAMPLES, subjects[0], suffix)
            ) as temporary:
                nib.save(nifti, temporary)
        pixels = _picture(image, label, prediction)
        self._events.picture(TRAIN, "Example/image_label_prediction", pixels, epoch)

    def epoch(self, epoch: int, history: pd.DataFrame) -> None:
        """Tell TensorBoard and the log about an epoch.

        Parameters
        ----------
        epoch
            The epoch that is done.
        history
            Table of the training so far.
        """
        rows = history[history["epoch"] == epoch]
        words = []
        for phase, _, values in scalars_of(rows):
            self._events.scalars(phase, values, epoch)
            dice = f", Dice {values[MEAN_DICE]:.3f}" if MEAN_DICE in values else ""
            words.append(f"{phase} loss {values['Loss']:.3f}{dice}")
        self._events.flush()
        now = time.perf_counter()
        seconds, self._epoch_began = now - self._epoch_began, now
        self._durations.append(seconds)
        logger.info(
            "fold %d, epoch %d of %d: %s, %.1f s, %s",
            *(self.fold, epoch, self.epochs, "; ".join(words), seconds, self._end(epoch)),
        )

    def _end(self, epoch: int) -> str:
        """Say when the training will end, from its last epochs."""
        left_s = (self.epochs - epoch) * sum(self._durations) / len(self._durations)
        if not left_s:
            return "the last one"
        end = datetime.now().astimezone() + timedelta(seconds=left_s)
        return f"ends at about {end:%Y-%m-%d %H:%M}, in {timedelta(seconds=round(left_s))} h"

    def _tell_resources(self, seconds: float, values: dict[str, float]) -> None:
        self._events.scalars("resources", values, round(self._earlier_s + seconds))

    def keep(self, tensorboard: Path | None, example_images: Path | None) -> None:
        """Copy event files and example crops out of the state directory, once it has ended."""
        for name, target in ((EVENTS, tensorboard), (EXAMPLES, example_images)):
            if target is None:
                continue
            with atomic_directory(target) as directory:
                shutil.copytree(self.directory / name, directory, dirs_exist_ok=True)


class Unwatched:
    """Stands in for `Watch` in processes that write nothing."""

    def batches(self, _: Sequence[int], batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches."""
        return iter(batches)

    def laps(self, _: int) -> Callable[[str], None]:
        """Return a function that measures nothing."""
        return lambda _: None

    def example(self, *_: object) -> None:
        """Keep nothing."""


def _picture(
    image: NDArray[np.float32], label: NDArray[np.uint8], prediction: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Draw the axial slice with most of the structures: image, labels and prediction side by side.

    Each structure counts the same, or a large one would decide.

    Returns
    -------
    numpy.ndarray
        uint8 (row, column, red green blue); the patient's right is at the left, the front on top.
    """
    masks = [label == value for value in np.unique(label[label > 0])]
    shares = [mask.sum(axis=(0, 1)) / mask.sum() for mask in masks]
    place = int(np.sum(shares, axis=0).argmax()) if shares else image.shape[2] // 2
    grey, labels, predicted = (
        array[..., place].T[::-1, ::-1] for array in (image, label, prediction)
    )
    low, high = np.percentile(image, (0.5, 99.5))
    shade = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)[..., None].repeat(3, axis=-1)
    colours = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in OKABE_ITO])
    panels = [shade]
    for shown in (labels, predicted):
        tint = colours[(shown.astype(int) - 1) % len(colours)]
        panels.append(np.where(shown[..., None] > 0, 0.4 * shade + 0.6 * tint, shade))
    return np.rint(255 * np.concatenate(panels, axis=1)).astype(np.uint8)
