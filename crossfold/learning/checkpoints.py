"""Checkpoints that describe themselves."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from crossfold import __version__
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.learning import STAGE_VERSION
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
        return divisor_of(self.target, self.arguments)


def save_checkpoint(path: Path, network: nn.Module, card: NetworkCard, *, epoch: int) -> None:
    """Write weights, card and the version of the code as one safetensors file."""
    weights = {name: value.contiguous() for name, value in distinct_tensors(network).items()}
    about = {
        "card": asdict(card),
        "epoch": epoch,
        "version": __version__,
        "stage_version": STAGE_VERSION,
    }
    # One entry only: safetensors writes several in random order, and files have to be repeatable.
    metadata = {"crossfold": json.dumps(about)}
    with atomic_path(path) as temporary:
        safetensors.torch.save_file(weights, temporary, metadata)


def load_checkpoint(path: Path) -> tuple[nn.Module, NetworkCard]:
    """Build the network of a checkpoint, with its weights, in evaluation mode.

    Raises
    ------
    CrossfoldError
        If there is no such checkpoint, or it is damaged, or its network has changed since.
    """
    if not path.is_file():
        have = ", ".join(sorted(file.stem for file in path.parent.glob("*.safetensors"))) or "none"
        raise CrossfoldError(
            f"{path}: no such checkpoint", remedy=f"choose an epoch that was kept: {have}"
        )
    weights, card = read_weights(path)
    if card is None:
        raise CrossfoldError(
            f"{path}: not a checkpoint of Crossfold (it does not name its network)",
            remedy="start a training from it: `init_from: {file: …}`",
        )
    network = card.build()
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CrossfoldError(
            f"{path}: its weights do not fit {card.target} ({error})",
            remedy="use the version of that network that it was trained with",
        ) from error
    odd = [*unexpected, *(set(missing) & set(distinct_tensors(network)))]
    if odd:
        raise CrossfoldError(
            f"{path}: its weights do not fit {card.target}, such as {odd[0]}",
            remedy="use the version of that network that it was trained with",
        )
    return network.eval(), card


def read_weights(path: Path) -> tuple[dict[str, Tensor], NetworkCard | None]:
    """Read a safetensors file, which cannot run code; the card is that of Crossfold's own files.

    Raises
    ------
    CrossfoldError
        If it is damaged, or something else.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = (file.metadata() or {}).get("crossfold")
            card = NetworkCard(**json.loads(about)["card"]) if about else None
        return safetensors.torch.load_file(path), card
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CrossfoldError(
            f"{path}: not a checkpoint of Crossfold ({error})",
            remedy="delete it; the next run trains the fold again",
        ) from error


def distinct_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return weights and buffers by name, each once: DynUNet of MONAI has layers of two names."""
    distinct: dict[Any, tuple[str, Tensor]] = {}
    for name, value in network.state_dict().items():
        identity = (value.data_ptr(), value.shape) if value.numel() else name
        distinct.setdefault(identity, (name, value))
    return dict(distinct.values())


def read_pickle(path: Path, *, remedy: str) -> Any:
    """Read a file of `torch.save` that holds tensors and plain values; anything else is refused.

    A pickle can run any code. Nothing in Crossfold reads one in another way than this.

    Raises
    ------
    CrossfoldError
        If it holds something else, or is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it is empty"
        raise CrossfoldError(
            f"{path}: refused, because it is damaged or holds more than tensors and plain values "
            f"({reason})",
            remedy=remedy,
        ) from error
