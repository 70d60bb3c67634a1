"""The default 3-D U-Net, and networks of others by import path."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossfold.config.learning import NetworkConfig
from crossfold.errors import CrossfoldError

# A voxel is called anisotropic where one side is longer than this many times its shortest side.
ANISOTROPY = 1.5
# Fewest voxels of a patch along an axis at the lowest level.
SMALLEST_AXIS = 3

Triple = tuple[int, int, int]


class UNet(nn.Module):
    """A plain 3-D U-Net: strided convolutions down, transposed convolutions up.

    After Çiçek et al. 2016 (arXiv 1606.06650), with the anisotropic kernels and strides of nnU-Net
    (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z). One convolution at full resolution, where
    it is dearest, and two elsewhere; batch normalisation, whose layout stays channels-last.

    Parameters
    ----------
    in_channels, out_channels
        Image channels; structures and background.
    channels
        Features of each level.
    kernel_sizes
        Kernel of each level.
    strides
        Stride between each level and the next.
    convolutions
        Convolutions per level below the first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        kernel_sizes: Sequence[Sequence[int]] | None = None,
        strides: Sequence[Sequence[int]] | None = None,
        convolutions: int = 2,
    ) -> None:
        super().__init__()
        levels = len(channels)
        kernels = [tuple(k) for k in kernel_sizes or [(3, 3, 3)] * levels]
        steps = [(x, y, z) for x, y, z in strides or [(2, 2, 2)] * (levels - 1)]
        if len(kernels) != levels or len(steps) != levels - 1:
            raise CrossfoldError(
                f"network: {levels} `channels` with {len(kernels)} `kernel_sizes` and "
                f"{len(steps)} `strides`",
                remedy=f"give {levels} kernel sizes and {levels - 1} strides",
            )
        self.encoder = nn.ModuleList()
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        features = in_channels
        for level, width in enumerate(channels):
            stride = steps[level - 1] if level else (1, 1, 1)
            count = convolutions if level else 1
            self.encoder.append(_stage(features, width, kernels[level], stride, count))
            features = width
        for level in reversed(range(levels - 1)):
            width, count = channels[level], convolutions if level else 1
            self.upsample.append(
                nn.ConvTranspose3d(channels[level + 1], width, steps[level], steps[level])
            )
            self.decoder.append(_stage(2 * width, width, kernels[level], (1, 1, 1), count))
        self.head = nn.Conv3d(channels[0], out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channel, x, y, z) to logits (batch, class, x, y, z)."""
        skipped = []
        for stage in self.encoder:
            image = stage(image)
            skipped.append(image)
        skipped.pop()
        for upsample, stage in zip(self.upsample, self.decoder, strict=True):
            image = stage(torch.cat([upsample(image), skipped.pop()], dim=1))
        return self.head(image)


def _stage(
    features: int, width: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    """Stack convolution, batch normalisation and leaky ReLU `count` times."""
    layers: list[nn.Module] = []
    for position in range(count):
        step = stride if position == 0 else 1
        padding = tuple(size // 2 for size in kernel)
        layers += [
            nn.Conv3d(features, width, kernel, step, padding, bias=False),  # type: ignore[arg-type]
            nn.BatchNorm3d(width),
            nn.LeakyReLU(0.01, inplace=True),
        ]
        features = width
    return nn.Sequential(*layers)


def plan_topology(
    levels: int, spacing_mm: Sequence[float], patch_size: Sequence[int]
) -> tuple[list[Triple], list[Triple]]:
    """Choose kernels and strides so that voxels become isotropic on the way down.

    Parameters
    ----------
    levels
        Number of levels of the network.
    spacing_mm
        Voxel size of the training grid.
    patch_size
        Training patch in voxels: no axis falls below three voxels at the lowest level.

    Returns
    -------
    kernel_sizes, strides
        One kernel per level, one stride between levels.
    """
    spacing, patch = list(spacing_mm), list(patch_size)
    kernels: list[Triple] = []
    strides: list[Triple] = []
    for level in range(levels):
        fine = [size <= ANISOTROPY * min(spacing) for size in spacing]
        x, y, z = (3 if axis else 1 for axis in fine)
        kernels.append((x, y, z))
        if level == levels - 1:
            break
        steps = [
            2 if axis and math.ceil(size / 2) >= SMALLEST_AXIS else 1
            for axis, size in zip(fine, patch, strict=True)
        ]
        strides.append((steps[0], steps[1], steps[2]))
        spacing = [size * step for size, step in zip(spacing, steps, strict=True)]
        patch = [math.ceil(size / step) for size, step in zip(patch, steps, strict=True)]
    return kernels, strides


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
    # The overloads that torch declares leave memory_format out.
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _constructor(target: str) -> type[nn.Module]:
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CrossfoldError(
            f"network._target_: cannot import {target} ({error})",
            remedy="check the spelling, and that the package is installed or beside the Snakefile",
        ) from error


def divisor_of(arguments: dict[str, Any]) -> Triple:
    """Return the multiple of voxels per axis that a network needs: the product of its strides."""
    strides = arguments.get("strides")
    if not strides:
        levels = len(arguments.get("channels") or arguments.get("features") or range(6))
        factor = 2 ** (levels - 1)
        return factor, factor, factor
    per_axis = [[step] * 3 if isinstance(step, int) else list(step) for step in strides]
    x, y, z = (math.prod(axis) for axis in zip(*per_axis, strict=True))
    return x, y, z


def first_stride(arguments: dict[str, Any]) -> Triple:
    """Return the first stride above one of a network: how its grid is made coarser."""
    for stride in arguments.get("strides") or ():
        x, y, z = (stride,) * 3 if isinstance(stride, int) else stride
        if max(x, y, z) > 1:
            return x, y, z
    return (2, 2, 2)


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
