"""The state of a training: what a killed one continues from, and one that is given more epochs."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from crossfold.config.learning import PLACE, TrainingConfig
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, atomic_path
from crossfold.learning.checkpoints import read_pickle
from crossfold.paths import best_checkpoint, checkpoint

logger = logging.getLogger(__name__)

_STATE = "state.pt"
_ENDED = "finished"


class TrainingState:
    """The state of a running training, saved with every epoch, and of the last one that ended.

    A running training lies in a directory of its own, named by all that it depends on, so that two
    never mix. When it ends, its state moves to `finished/`, in place of the one there: a training
    that differs in nothing but more epochs starts from that.

    Parameters
    ----------
    parent
        The state directory of a model and fold.
    identity
        Everything that the training depends on, besides its section.
    config
        Section `training`.
    """

    def __init__(self, parent: Path, identity: dict[str, Any], config: TrainingConfig) -> None:
        self.config = config
        everything = config.model_dump(mode="json", exclude={*PLACE})
        # What may change when a training is extended.
        changing = {"checkpoints": {"first", "every"}, "epochs": True, "extended_from": True}
        places = dict.fromkeys(PLACE, True)
        lasting = config.model_dump(mode="json", exclude={**places, **changing})  # type: ignore[arg-type]
        own = everything if config.depends_on_length else lasting
        self.directory = parent / _digest({**identity, "training": own})
        self._ended = parent / _ENDED / _digest({**identity, "training": lasting})

    def save(self, state: dict[str, Any]) -> None:
        """Save the state, whole or not at all, in place of the one before."""
        with atomic_path(self.directory / _STATE) as temporary:
            torch.save({"epochs": self.config.epochs, **state}, temporary)

    def load(self) -> dict[str, Any] | None:
        """Return what this training continues from, or None where it starts anew.

        The key `extended_from` says which lengths the training had before.

        Raises
        ------
        CrossfoldError
            If a state is damaged.
        """
        running = self._read(self.directory)
        if running and running["done"] <= self.config.epochs:
            return running
        ended = self._read(self._ended)
        # One that has ended at this epoch is trained again: somebody has asked for that.
        if ended is None or ended["done"] >= self.config.epochs:
            return None
        before = (*ended["extended_from"], ended["epochs"])
        if not self._extends(before):
            return None
        with atomic_directory(self.directory) as directory:
            shutil.copytree(self._ended, directory, dirs_exist_ok=True)
        extended_from = self.config.extended_from
        if self.config.depends_on_length and not extended_from:
            extended_from = before
            logger.warning(
                "the learning rate depends on the number of epochs, and follows that of %d epochs "
                "from epoch %d on; to repeat this training from the start, write "
                "`training: {extended_from: %s}`",
                self.config.epochs,
                ended["done"] + 1,
                [*before],
            )
        return {**ended, "extended_from": extended_from}

    def finish(self) -> None:
        """Keep the state for a training with more epochs: this one has ended."""
        kept = {checkpoint("", epoch).name for epoch in self.config.checkpoint_epochs}
        for file in self.directory.iterdir():
            # Folders hold what TensorBoard shows, which goes on where the training does.
            if file.is_file() and file.name not in {_STATE, best_checkpoint("").name, *kept}:
                file.unlink()
        shutil.rmtree(self._ended.parent, ignore_errors=True)
        self._ended.parent.mkdir()
        self.directory.rename(self._ended)

    def _read(self, directory: Path) -> dict[str, Any] | None:
        """Read a state, or None where there is none with all checkpoints that are to be kept."""
        file = directory / _STATE
        if not file.is_file():
            return None
        state = read_pickle(file, remedy="delete it; the fold is trained from the start")
        if not isinstance(state, dict) or "done" not in state:
            raise CrossfoldError(
                f"{file}: not the state of a training",
                remedy="delete it; the fold is trained from the start",
            )
        wanted = [epoch for epoch in self.config.checkpoint_epochs if epoch <= state["done"]]
        lost = [epoch for epoch in wanted if not checkpoint(directory, epoch).is_file()]
        if lost:
            logger.info("epoch %d is to be kept and was not: training starts anew", lost[0])
            return None
        return state

    def _extends(self, before: tuple[int, ...]) -> bool:
        """Say whether the configuration allows for a training that had these lengths before."""
        told = self.config.extended_from
        if not told or told[: len(before)] == before or not self.config.depends_on_length:
            return True
        logger.info(
            "the training that has ended at epoch %s is not continued: extended_from says %s",
            ", ".join(map(str, before)),
            ", ".join(map(str, told)),
        )
        return False


def _digest(identity: dict[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
