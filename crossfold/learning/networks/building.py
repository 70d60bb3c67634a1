"""Networks by import path: their arguments, their topology, and what they need of an image."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossfold.config.functions import load_object
from crossfold.config.learning import NetworkConfig
from crossfold.data.topology import Triple, plan_topology
from crossfold.errors import CrossfoldError
from crossfold.learning.networks.outputs import SliceWise
from crossfold.learning.networks.unet import UNet


def network_arguments(
    config: NetworkConfig,
    *,
    images: int,
    structures: int,
    spacing_mm: Sequence[float],
    patch_size: Sequence[int],
) -> dict[str, Any]:
    """Return every argument that the network is built with, those decided from the data included.

    Raises
    ------
    CrossfoldError
        If the network cannot be imported, or does not take an argument of the configuration.
    """
    takes = inspect.signature(_constructor(config.target)).parameters
    arguments = dict(config.arguments)
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in takes.values())
    for name in arguments:
        if name not in takes and not open_ended:
            raise CrossfoldError(
                f"network.{name}: {config.target} takes no such argument",
                remedy=f"choose from {', '.join(takes)}",
            )
    given = {"in_channels": images, "out_channels": structures + 1, "spatial_dims": 3}
    arguments = {name: value for name, value in given.items() if name in takes} | arguments
    if _constructor(config.target) is UNet and "strides" not in arguments:
        levels = len(arguments.get("channels", (16, 32, 64, 128)))
        kernels, strides = plan_topology(levels, spacing_mm, patch_size)
        arguments = {"kernel_sizes": kernels, **arguments, "strides": strides}
    return arguments


def build_network(target: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network from its import path and all its arguments.

    Raises
    ------
    CrossfoldError
        If it cannot be imported or refuses its arguments.
    """
    constructor = _constructor(target)
    try:
        network = constructor(**arguments)
    except (TypeError, ValueError) as error:
        raise CrossfoldError(
            f"network: {target} refuses its arguments: {error}",
            remedy=f"see the signature {inspect.signature(constructor)}",
        ) from error
    if is_2d(arguments):
        return SliceWise(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The overloads that torch declares leave memory_format out.
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def is_2d(arguments: dict[str, Any]) -> bool:
    """Say whether the arguments are those of a 2-D network."""
    return arguments.get("spatial_dims") == 2


def _constructor(target: str) -> type[nn.Module]:
    found = load_object(target, "network._target_")
    # Nothing else is called: a checkpoint may come from anywhere.
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise CrossfoldError(
            f"network._target_: {target} is no class of torch.nn.Module",
            remedy="name one, such as monai.networks.nets.SegResNet",
        )
    return found


def divisor_of(target: str, arguments: dict[str, Any]) -> Triple:
    """Return the multiple of voxels per axis that a network needs.

    A network can say it itself, as a class attribute `divisor` (x, y, z). Otherwise it is the
    product of its `strides`, or what MONAI documents of SegResNet and SwinUNETR; of others, 2 to
    the power of one less than the levels that `channels` or `features` name.
    """
    constructor = _constructor(target)
    if declared := getattr(constructor, "divisor", None):
        x, y, z = declared
        return x, y, z
    if arguments.get("strides"):
        per_axis = [_per_axis(step, arguments) for step in arguments["strides"]]
        x, y, z = (math.prod(axis) for axis in zip(*per_axis, strict=True))
        return x, y, z
    takes = inspect.signature(constructor).parameters
    values = {name: parameter.default for name, parameter in takes.items()} | arguments
    if constructor.__name__ == "SwinUNETR":
        return _per_axis(values["patch_size"] ** 5, arguments)
    if constructor.__name__.startswith("SegResNet"):
        return _per_axis(2 ** (len(values["blocks_down"]) - 1), arguments)
    levels = len(arguments.get("channels") or arguments.get("features") or range(6))
    return _per_axis(2 ** (levels - 1), arguments)


def first_stride(target: str, arguments: dict[str, Any]) -> Triple:
    """Return the first stride above one of a network: how its grid is made coarser."""
    for stride in arguments.get("strides") or ():
        if max(step := _per_axis(stride, arguments)) > 1:
            return step
    x, y, z = (min(2, multiple) for multiple in divisor_of(target, arguments))
    return x, y, z


def _per_axis(step: int | Sequence[int], arguments: dict[str, Any]) -> Triple:
    """Return a step along x, y, z; a 2-D network takes none along z."""
    steps = [step] * 3 if isinstance(step, int) else [*step, 1]
    return steps[0], steps[1], 1 if is_2d(arguments) else steps[2]


def pad_to_network(image: Tensor, divisor: Triple) -> Tensor:
    """Pad with zeros at the far end so that a network can take an image.

    Every axis becomes a multiple of the divisor. Twice the divisor along the first axis becomes
    three times: with exactly two voxels there at the lowest level, the bf16 convolution of oneDNN
    3.12 (torch 2.13, CPU) reads uninitialised memory for the gradients of its weights.

    Parameters
    ----------
    image
        (..., x, y, z).
    divisor
        As given by `divisor_of`.
    """
    padding: list[int] = []
    for axis, size in enumerate(image.shape[-3:]):
        needed = math.ceil(size / divisor[axis]) * divisor[axis]
        if axis == 0 and needed == 2 * divisor[axis] and divisor[axis] > 1:
            needed = 3 * divisor[axis]
        padding = [0, needed - size, *padding]
    return functional.pad(image, padding) if any(padding) else image
