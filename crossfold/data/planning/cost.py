"""What training the default U-Net takes: operations, seconds, bytes. Counted, never timed.

The convolutions are counted layer by layer; a backward pass takes twice the operations of a
forward pass. What else a step takes, and how much memory an activation costs until the backward
pass, was measured once (docs/planning.md says on what, and how far off the predictions were).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crossfold.config.planning import BudgetConfig
from crossfold.data.topology import Triple, plan_topology

# Crops, augmentation of small crops, optimiser: what a step takes however small its crops are.
STEP_SECONDS = 0.010
# Imports, validation crops, checkpoints and state of a whole training.
FIXED_SECONDS = 10.0
# Python, torch and what training keeps besides the activations.
FIXED_BYTES = 0.5e9
# Bytes per feature and voxel that a layer keeps in bf16, with gradients and buffers on top.
BYTES_PER_FEATURE = 5.0
# Logits, probabilities and their gradients in float32.
BYTES_PER_CLASS = 24.0
# Weights, gradient, two moments of AdamW and a moving average, in float32.
BYTES_PER_WEIGHT = 20.0
# What the first levels of a whole image take at prediction, which keeps nothing.
PREDICTED_FEATURES = 4


@dataclass(frozen=True)
class Network:
    """The default U-Net on a grid: one convolution per stage at full resolution, two below.

    Parameters
    ----------
    images, classes
        Channels of its input; structures and background.
    channels
        Features of each level.
    kernels, strides
        As given by `plan_topology`.
    """

    images: int
    classes: int
    channels: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]

    @classmethod
    def on(
        cls,
        spacing_mm: Sequence[float],
        patch: Sequence[int],
        channels: Sequence[int],
        *,
        images: int,
        classes: int,
    ) -> Network:
        """Build it for a grid and a patch."""
        kernels, strides = plan_topology(len(channels), spacing_mm, patch)
        return cls(images, classes, tuple(channels), tuple(kernels), tuple(strides))

    @property
    def divisor(self) -> Triple:
        """Multiple of voxels per axis that it needs."""
        x, y, z = (math.prod(step[axis] for step in self.strides) for axis in range(3))
        return x, y, z

    @property
    def coarsening(self) -> Triple:
        """First stride above one: the grid of the first steps under `half_resolution`."""
        return next((step for step in self.strides if max(step) > 1), (1, 1, 1))

    def operations_per_voxel(self) -> float:
        """Return the operations of a forward pass, per voxel of the input."""
        return sum(2 * taps * made for taps, made, _ in self._layers())

    def features_per_voxel(self) -> float:
        """Return how many numbers a forward pass makes, per voxel of the input."""
        return sum(made for _, made, _ in self._layers())

    def weights(self) -> int:
        """Return about how many weights it has."""
        return sum(weights for _, _, weights in self._layers())

    def _layers(self) -> list[tuple[float, float, int]]:
        """Return taps per number made, numbers made per voxel of the input, and weights."""
        layers: list[tuple[float, float, int]] = []
        share, features = 1.0, self.images
        shares: list[float] = []
        taps = [math.prod(kernel) for kernel in self.kernels]
        for level, width in enumerate(self.channels):
            share /= math.prod(self.strides[level - 1]) if level else 1
            shares.append(share)
            for _ in range(2 if level else 1):
                layers.append(self._layer(features, width, taps[level], share))
                features = width
        for level in reversed(range(len(self.channels) - 1)):
            width, below = self.channels[level], self.channels[level + 1]
            # A transposed convolution with kernel = stride: one tap per voxel that it makes.
            weights = below * width * math.prod(self.strides[level])
            layers.append((below, width * shares[level], weights))
            layers += [
                self._layer(seen, width, taps[level], shares[level])
                for seen in ((2 * width, width) if level else (2 * width,))
            ]
        layers.append(self._layer(self.channels[0], self.classes, 1, 1.0))
        return layers

    @staticmethod
    def _layer(seen: int, made: int, taps: int, share: float) -> tuple[float, float, int]:
        return seen * taps, made * share, seen * made * taps


def padded(patch: Sequence[int], divisor: Sequence[int]) -> Triple:
    """Return the voxels that a network is shown of a patch."""
    x, y, z = (math.ceil(size / d) * d for size, d in zip(patch, divisor, strict=True))
    # Never exactly two voxels along x at the lowest level (crossfold.learning.networks).
    return (3 * divisor[0] if x == 2 * divisor[0] and divisor[0] > 1 else x), y, z


def operations_per_step(
    network: Network, patch: Sequence[int], batch: int, half_resolution: float = 0.0
) -> float:
    """Return the mean operations of a training step: forward and twice that backward."""
    full = padded(patch, network.divisor)
    small = [size // step for size, step in zip(full, network.coarsening, strict=True)]
    coarse = math.prod(padded(small, network.divisor))
    voxels = (1 - half_resolution) * math.prod(full) + half_resolution * coarse
    return 3 * network.operations_per_voxel() * batch * voxels


def seconds_per_step(operations: float, budget: BudgetConfig) -> float:
    """Return the time of a step with that many operations on the machine of a budget."""
    return operations * 60 * budget.minutes / budget.operations + STEP_SECONDS


def training_bytes(network: Network, patch: Sequence[int], batch: int) -> float:
    """Return the largest memory of a training."""
    kept = BYTES_PER_FEATURE * network.features_per_voxel() + BYTES_PER_CLASS * network.classes
    voxels = batch * math.prod(padded(patch, network.divisor))
    return FIXED_BYTES + BYTES_PER_WEIGHT * network.weights() + kept * voxels


def prediction_bytes(network: Network, shape: Sequence[float]) -> float:
    """Return the largest memory of predicting a whole image of that many voxels at once."""
    live = 4.0 * (PREDICTED_FEATURES * network.channels[0] + 4 * network.classes + network.images)
    return FIXED_BYTES + live * math.prod(shape)
