"""Checkpoints that describe themselves, and the state that lets training continue."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.learning.networks import Triple, build_network, divisor_of


@dataclass(frozen=True)
class NetworkCard:
    """What has to be known to build a network and to feed it; travels with its weights.

    Parameters
    ----------
    target
        Import path of the network.
    arguments
        All arguments of its constructor.
    images, structures
        Channels that it reads and structures that it writes, in order.
    spacing_mm
        Voxel size of the training grid.
    patch_size
        Training crop in voxels.
    """

    target: str
    arguments: dict[str, Any]
    images: list[str]
    structures: list[str]
    spacing_mm: list[float]
    patch_size: list[int]

    def build(self) -> nn.Module:
        """Build the network with fresh weights."""
        return build_network(self.target, self.arguments)

    @property
    def divisor(self) -> Triple:
        """Multiple of voxels per axis that the network needs."""
        return divisor_of(self.arguments)


def save_checkpoint(path: Path, network: nn.Module, card: NetworkCard, *, epoch: int) -> None:
    """Write weights and card as one safetensors file."""
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    # One entry only: safetensors writes several in random order, and files have to be repeatable.
    metadata = {"crossfold": json.dumps({"card": asdict(card), "epoch": epoch})}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(weights, temporary, metadata)


def load_checkpoint(path: Path) -> tuple[nn.Module, NetworkCard]:
    """Build the network of a checkpoint, with its weights, in evaluation mode.

    Raises
    ------
    CrossfoldError
        If there is no such checkpoint, or it is damaged.
    """
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in path.parent.glob("*.safetensors"))) or "none"
        raise CrossfoldError(
            f"{path}: no such checkpoint", remedy=f"choose an epoch that was kept: {have}"
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            card = NetworkCard(**json.loads(file.metadata()["crossfold"])["card"])
        weights = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CrossfoldError(
            f"{path}: not a checkpoint of Crossfold ({error})",
            remedy="delete it; the next run trains the fold again",
        ) from error
    network = card.build()
    network.load_state_dict(weights)
    return network.eval(), card


class TrainingState:
    """What training needs to continue after it was killed, saved at the end of every epoch.

    Parameters
    ----------
    parent
        The state directory of a model and fold.
    identity
        Everything that training depends on: a training of another identity has a directory of its
        own, so that the two never mix.
    """

    def __init__(self, parent: Path, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.directory = parent / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.path = self.directory / "state.pt"

    def save(self, state: dict[str, Any]) -> None:
        """Save the state, whole or not at all, in place of the one before."""
        with atomic_path(self.path) as temporary:
            torch.save(state, temporary)

    def load(self) -> dict[str, Any] | None:
        """Return the last state of this training, or None where there is none."""
        if not self.path.is_file():
            return None
        return torch.load(self.path, map_location="cpu", weights_only=True)

    def clear(self) -> None:
        """Forget the state: the training has ended and its checkpoints are whole."""
        shutil.rmtree(self.directory, ignore_errors=True)
