"""Running a network over a whole image, window by window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossfold.learning.devices import autocast
from crossfold.learning.networks import Triple, heads_of, margin_of, pad_to_network

# Width of the Gaussian weight of a window, as a share of the window (as in nnU-Net).
GAUSSIAN_SIGMA = 1 / 8


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Place windows evenly along an axis, overlapping by at least the given share.

    Examples
    --------
    >>> window_starts(100, 40, 0.5)
    [0, 20, 40, 60]
    >>> window_starts(30, 40, 0.5)
    [0]
    """
    if length <= window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = math.ceil((length - window) / step) + 1
    return [round(i * (length - window) / (count - 1)) for i in range(count)]


def gaussian_weight(window: Sequence[int]) -> Tensor:
    """Weight voxels by their distance from the middle of a window, (x, y, z), positive."""
    axes = [
        torch.exp(-0.5 * ((torch.arange(size) - (size - 1) / 2) / (size * GAUSSIAN_SIGMA)) ** 2)
        for size in window
    ]
    weight = axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]
    return weight.clamp_min(weight.max() * 1e-3)


class Predictor:
    """A network that maps images to posteriors.

    Parameters
    ----------
    network
        In evaluation mode, on its device. One whose output is smaller than its input is shown that
        margin around each window as well; outside of the image, its border is repeated.
    divisor
        Multiple of voxels per axis that it needs.
    window
        Sliding window in voxels, or None for the whole image at once.
    overlap
        Share of the window by which neighbours overlap.
    batch_size
        Windows per forward pass.
    mirror_axes
        Axes 0, 1, 2 along which the image is mirrored; posteriors are averaged over all
        combinations.
    renamed
        Label that each label becomes when mirrored along axis 0, (class,).
    precision
        As in `training.precision`.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        divisor: Triple,
        window: Sequence[int] | None,
        overlap: float,
        batch_size: int,
        mirror_axes: Sequence[int] = (),
        renamed: Tensor | None = None,
        precision: str = "auto",
    ) -> None:
        self.network, self.divisor = network, divisor
        self.window, self.overlap, self.batch_size = window, overlap, batch_size
        self.renamed, self.precision = renamed, precision
        self.device = next(network.parameters()).device
        self.margin = margin_of(network)
        counts = range(len(mirror_axes) + 1)
        self.flips = [
            flip for count in counts for flip in itertools.combinations(mirror_axes, count)
        ]

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """Return posteriors of an image.

        Parameters
        ----------
        image
            (channel, x, y, z), normalised, on the training grid.

        Returns
        -------
        Tensor
            float32 (class, x, y, z) on the CPU; the classes of a voxel add up to 1.
        """
        size = image.shape[1:]
        # Windows never exceed the image by more than the network needs.
        largest = [math.ceil(s / d) * d for s, d in zip(size, self.divisor, strict=True)]
        window = [min(w, s) for w, s in zip(self.window or size, largest, strict=True)]
        padding = [max(0, w - s) for w, s in zip(window, size, strict=True)]
        padded = functional.pad(image.float(), [p for pad in reversed(padding) for p in (0, pad)])
        weight = gaussian_weight(window).to(self.device)
        places = self._places(padded.shape[1:], window)
        padded = padded.to(self.device)
        around = [voxels for voxels in reversed(self.margin) for _ in range(2)]
        seen = functional.pad(padded[None], around, mode="replicate")[0] if any(around) else padded
        posterior: Tensor | None = None
        total = torch.zeros(padded.shape[1:], device=self.device)
        for first in range(0, len(places), self.batch_size):
            batch = places[first : first + self.batch_size]
            windows = torch.stack([seen[(slice(None), *self._seen(place))] for place in batch])
            for place, result in zip(batch, self._forward(windows), strict=True):
                if posterior is None:
                    posterior = torch.zeros((len(result), *padded.shape[1:]), device=self.device)
                posterior[(slice(None), *place)] += result * weight
                total[place] += weight
        assert posterior is not None
        posterior /= total
        x, y, z = size
        return posterior[:, :x, :y, :z].cpu()

    def _places(self, size: Sequence[int], window: Sequence[int]) -> list[tuple[slice, ...]]:
        """Return the windows that cover an image."""
        axes = [
            [slice(start, start + w) for start in window_starts(s, w, self.overlap)]
            for s, w in zip(size, window, strict=True)
        ]
        return list(itertools.product(*axes))

    def _seen(self, place: tuple[slice, ...]) -> tuple[slice, ...]:
        """Return what the network is shown of the image with its margin, to predict a window."""
        return tuple(
            slice(window.start, window.stop + 2 * voxels)
            for window, voxels in zip(place, self.margin, strict=True)
        )

    def _forward(self, windows: Tensor) -> Tensor:
        """Return posteriors of windows, averaged over mirrored copies."""
        size = windows.shape[2:]
        padded = pad_to_network(windows, self.divisor)
        total: Tensor | float = 0.0
        for flip in self.flips:
            axes = [2 + axis for axis in flip]
            mirrored = padded.flip(axes).contiguous(memory_format=torch.channels_last_3d)
            with autocast(self.precision, self.device):
                _, logits = heads_of(self.network(mirrored))[0]
            posterior = logits.float().softmax(dim=1).flip(axes)
            if 0 in flip and self.renamed is not None:
                posterior = posterior[:, self.renamed.to(posterior.device)]
            total = total + posterior
        assert isinstance(total, Tensor)
        return (total / len(self.flips))[:, :, : size[0], : size[1], : size[2]]
