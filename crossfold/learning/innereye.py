"""Weights of InnerEye-DeepLearning (Microsoft Research, 2020), named and turned as ours are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from crossfold.errors import CrossfoldError
from crossfold.learning.checkpoints import read_pickle

# How InnerEye-DeepLearning names what `crossfold.learning.networks.innereye` names otherwise.
_UNET_BLOCK = {
    "block1.conv1": "first.0",
    "block1.bn1": "first.1",
    "block2.conv1": "second.0",
    "block2.bn1": "second.1",
    "upsample_block": "upsample",
    "conv1.conv1": "from_below",
    "conv2.conv1": "from_skipped",
    "activation_block": "normalise",
}
_BASIC_BLOCK = {
    "layers.0.conv1": "first.0",
    "layers.0.bn1": "first.1",
    "layers.1.conv1": "second.0",
    "layers.1.bn1": "second.1",
    "conv.conv1": "shortcut.0",
    "conv.bn1": "shortcut.1",
    "conv1": "0",
    "bn1": "1",
}


def read_innereye(path: Path) -> dict[str, Tensor]:
    """Read the weights of an InnerEye `*_checkpoint.pth.tar`, named and turned as ours are.

    The file is a pickle, and is read without running any code that it may hold. Its kernels are
    (z, y, x) and become (x, y, z).

    Parameters
    ----------
    path
        Checkpoint of UNet3D, UNet2D or the Basic network.

    Raises
    ------
    CrossfoldError
        If the file holds more than weights, or weights of something else.
    """
    content = read_pickle(path, remedy="use it only if InnerEye wrote it; copy it again")
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CrossfoldError(
            f"{path}: no checkpoint of InnerEye: there is no `state_dict` of tensors in it",
            remedy="give a file such as 120_checkpoint.pth.tar",
        )
    return {
        name: value.permute(0, 1, 4, 3, 2).contiguous() if value.dim() == 5 else value
        for name, value in _renamed(state, path)
    }


def _renamed(state: dict[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
    # DataParallel puts `module.` before the names, Lightning `model.`.
    plain = {re.sub(r"^(module\.|model\.)+", "", name): value for name, value in state.items()}
    is_unet = any(name.startswith("_layers.0.block1.") for name in plain)
    if not is_unet and "_layers.5.weight" not in plain:
        raise CrossfoldError(
            f"{path}: neither a UNet3D, a UNet2D nor a Basic network of InnerEye: it holds "
            f"{next(iter(plain), 'nothing')}",
            remedy="give the checkpoint of a segmentation model",
        )
    for name, value in plain.items():
        place, block = _place(name, is_unet=is_unet)
        known = _UNET_BLOCK if is_unet else _BASIC_BLOCK
        for theirs, ours in known.items():
            if block.startswith(f"{theirs}."):
                block = ours + block.removeprefix(theirs)
                break
        yield f"{place}.{block}", value


def _place(name: str, *, is_unet: bool) -> tuple[str, str]:
    """Return the stage of our network that a layer of theirs is, and the rest of its name."""
    if name.startswith("output_layer."):
        return "head", name.removeprefix("output_layer.")
    match = re.fullmatch(r"_layers\.(\d+)\.(.+)", name)
    if match is None:
        return "unknown", name
    number, block = int(match[1]), match[2]
    if is_unet:
        encoder, decoder = f"encoder.{number}", f"decoder.{(number - 5) // 2}"
        return (encoder if number < 5 else decoder), block
    if number == 5:
        return "head", block
    return (f"start.{number}" if number < 2 else f"residual.{number - 2}"), block
