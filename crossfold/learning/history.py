"""The learning curve: rows of training.csv."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from crossfold.images import atomic_path
from crossfold.learning.distributed import processes, summed

TRAINING_COLUMNS = ["epoch", "phase", "metric", "value", "lr", "seconds"]


class History:
    """What was measured in a training so far.

    Parameters
    ----------
    structures
        In the order of the scores.
    """

    def __init__(self, structures: Sequence[str]) -> None:
        self.structures = structures
        self.rows: list[tuple[int, str, str, float, float, float]] = []
        self.start(0, 0.0)

    def start(self, epoch: int, rate: float) -> None:
        """Begin an epoch, or another phase of it, which ends with this learning rate."""
        self.epoch, self.rate, self.started = epoch, rate, time.perf_counter()
        self._voxels, self._crops = np.zeros(len(self.structures) + 1, dtype=np.int64), 0

    def record(self, phase: str, loss: Any, scores: Sequence[float]) -> None:
        """Add a loss, and the Dice of each structure."""
        self.add(phase, "loss", float(loss))
        for structure, score in zip(self.structures, scores, strict=True):
            self.add(phase, f"dice_{structure}", score)

    def add(self, phase: str, metric: str, value: float) -> None:
        """Add a row, with the seconds since the start."""
        seconds = time.perf_counter() - self.started
        self.rows.append((self.epoch, phase, metric, value, self.rate, seconds))

    def see(self, labels: Tensor) -> None:
        """Count the voxels of a batch: labels (crop, x, y, z)."""
        counts = torch.bincount(labels.flatten(), minlength=len(self.structures) + 1)
        self._voxels += counts.cpu().numpy()
        self._crops += len(labels)

    def add_voxels(self, phase: str) -> None:
        """Add the mean number of voxels of each structure in the crops seen, and their share."""
        voxels, crops = summed(torch.from_numpy(self._voxels)).numpy(), self._crops * processes()
        for structure, count in zip(self.structures, voxels[1:].tolist(), strict=True):
            self.add(phase, f"voxels_{structure}", count / crops)
        share = voxels[1:].sum() / voxels.sum()
        self.add(phase, "proportion_foreground", float(share))

    def frame(self) -> pd.DataFrame:
        """Return the table."""
        return pd.DataFrame(self.rows, columns=TRAINING_COLUMNS)

    def write(self, path: Path) -> None:
        """Write the table."""
        with atomic_path(path) as temporary:
            self.frame().to_csv(temporary, index=False, float_format="%.6g")
