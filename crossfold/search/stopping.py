"""When a poor trial stops early: decided by the curves of earlier rounds, which do not change."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crossfold.config.search import PruneConfig

CURVE_COLUMNS = ["trial", "fold", "status", "epoch", "dice"]


def validation_curve(history: pd.DataFrame) -> pd.Series:
    """Return the mean Dice of all structures on validation crops; index: epoch.

    Parameters
    ----------
    history
        training.csv. A structure that is in none of the crops does not count.
    """
    is_dice = history["metric"].str.startswith("dice_") & (history["phase"] == "val")
    return history[is_dice].groupby("epoch")["value"].mean()


class QuantileStopping:
    """The median stopping rule of Golovin et al. 2017 (Google Vizier), for any quantile.

    A trial stops when its best Dice so far is strictly below the quantile, over the finished
    trials, of the mean of what they had up to the same epoch. As a job reads nothing but files of
    earlier rounds, it decides the same again after it was killed, and on any machine.

    Parameters
    ----------
    config
        Section `search.prune`.
    curves
        Columns `CURVE_COLUMNS` of the finished trials of earlier rounds; one fold.
    epochs
        Epochs of this trial.
    """

    def __init__(self, config: PruneConfig, curves: pd.DataFrame, epochs: int) -> None:
        self.config, self.curves, self.epochs = config, curves, epochs

    def first(self, history: pd.DataFrame) -> tuple[int, str] | None:
        """Return the epoch after which a trial stops, and why; None where it goes on.

        Of a history that was made under another rule, the first epoch at which this one stops.
        """
        for epoch in validation_curve(history).dropna().index:
            if reason := self(history[history["epoch"] <= epoch]):
                return int(epoch), reason
        return None

    def __call__(self, history: pd.DataFrame) -> str | None:
        """Say why the trial stops after the epochs in its history, or None where it goes on."""
        own = validation_curve(history).dropna()
        if own.empty or own.index[-1] < self.config.after * self.epochs:
            return None
        epoch = int(own.index[-1])
        so_far = self.curves[self.curves["epoch"] <= epoch]
        means = so_far.groupby("trial")["dice"].mean().dropna()
        if len(means) < self.config.at_least:
            return None
        needed = float(np.quantile(means, self.config.quantile))
        if own.max() >= needed:
            return None
        return (
            f"epoch {epoch}: Dice on validation crops was at most {own.max():.3f}, and "
            f"{needed:.3f} is quantile {self.config.quantile:g} of {len(means)} finished trials"
        )
