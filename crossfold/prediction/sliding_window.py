"""Running a network over a whole image, window by window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossfold.errors import CrossfoldError
from crossfold.learning.devices import autocast
from crossfold.learning.networks import Triple, heads_of, margin_of, pad_to_network
from crossfold.prediction.memory import InFile, features_of

# Width of the Gaussian weight of a window, as a share of the window (as in nnU-Net).
GAUSSIAN_SIGMA = 1 / 8


class UndefinedPosteriorError(CrossfoldError):
    """A network that gives NaN: of a voxel for which it has no class, nothing can be said."""


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
        self._features: dict[tuple[int, ...], int] = {}

    @overload
    def __call__(self, image: Tensor) -> Tensor: ...

    @overload
    def __call__(self, image: Tensor, scratch: Path | None) -> Tensor | InFile: ...

    def __call__(self, image: Tensor, scratch: Path | None = None) -> Tensor | InFile:
        """Return posteriors of an image.

        Parameters
        ----------
        image
            (channel, x, y, z), normalised, on the training grid.
        scratch
            Folder for a file that holds the posteriors; None: they are in memory.

        Returns
        -------
        Tensor
            float32 (class, x, y, z) on the CPU; the classes of a voxel add up to 1.

        Raises
        ------
        UndefinedPosteriorError
            If the network gives NaN.
        """
        posterior: Tensor | InFile | None = None
        size = image.shape[1:]
        for part, slab in self.slabs(image):
            if scratch is None and slab.shape[1:] == size:
                return slab
            if posterior is None:
                posterior = (
                    InFile(scratch, len(slab), size)
                    if scratch is not None
                    else torch.empty((len(slab), *size))
                )
            if isinstance(posterior, InFile):
                posterior.write(part, slab)
            else:
                posterior[:, part] = slab
        assert posterior is not None
        return posterior

    @torch.inference_mode()
    def slabs(self, image: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield posteriors of an image, slab by slab along x.

        A slab is finished as soon as all windows that are left begin behind it, so that no more
        than the width of a window is in memory at a time. Sums are taken in the same order as
        those of the whole image, and have the same bytes.

        Parameters
        ----------
        image
            As for a call.

        Yields
        ------
        part, slab
            Where along x, and float32 (class, x, y, z) on the CPU; valid until the next one.
        """
        size = image.shape[1:]
        window = self.window_for(size)
        padding = [max(0, w - s) for w, s in zip(window, size, strict=True)]
        padded = functional.pad(image.float(), [p for pad in reversed(padding) for p in (0, pad)])
        weight = gaussian_weight(window).to(self.device)
        places = self._places(padded.shape[1:], window)
        padded = padded.to(self.device)
        around = [voxels for voxels in reversed(self.margin) for _ in range(2)]
        seen = functional.pad(padded[None], around, mode="replicate")[0] if any(around) else padded
        sums = _Sums(weight, padded.shape[1:])
        for first in range(0, len(places), self.batch_size):
            batch = places[first : first + self.batch_size]
            windows = torch.stack([seen[(slice(None), *self._seen(place))] for place in batch])
            results = self._forward(windows)
            if not torch.isfinite(results[:, 0].sum()):  # of a softmax, all classes or none
                raise UndefinedPosteriorError(
                    "the network gives no numbers (NaN)",
                    remedy="predict with training.precision: fp32, or train it again",
                )
            for place, result in zip(batch, results, strict=True):
                yield from _within(sums.finished(before=place[0].start), size)
                sums.add(place, result)
        yield from _within(sums.finished(before=padded.shape[1]), size)

    def features(self, n_channels: int, window: Sequence[int]) -> int:
        """Return the bytes that the network keeps of a batch of windows; runs it to see."""
        if (found := self._features.get((n_channels, *window))) is not None:
            return found
        around = [w + 2 * voxels for w, voxels in zip(window, self.margin, strict=True)]
        windows = torch.zeros(self.batch_size, n_channels, *around, device=self.device)
        padded = pad_to_network(windows, self.divisor)
        with torch.inference_mode(), autocast(self.precision, self.device):
            self._features[(n_channels, *window)] = features_of(self.network, padded)
        return self._features[(n_channels, *window)]

    def window_for(self, size: Sequence[int]) -> list[int]:
        """Return the window for an image: never beyond it by more than the network needs."""
        largest = [math.ceil(s / d) * d for s, d in zip(size, self.divisor, strict=True)]
        return [min(w, s) for w, s in zip(self.window or size, largest, strict=True)]

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


class _Sums:
    """Weighted posteriors of the windows at one place along x, which moves on.

    Parameters
    ----------
    weight
        Of the voxels of a window.
    size
        Of the padded image.
    """

    def __init__(self, weight: Tensor, size: Sequence[int]) -> None:
        self._weight, self._start = weight, 0
        self._shape = (weight.shape[0], *size[1:])
        self._total = torch.zeros(self._shape, device=weight.device)
        self._posterior: Tensor | None = None

    def add(self, place: tuple[slice, ...], result: Tensor) -> None:
        """Add a window, whose x is where `finished` has been asked for."""
        if self._posterior is None:
            self._posterior = torch.zeros((len(result), *self._shape), device=result.device)
        across = (slice(None), *place[1:])
        self._posterior[(slice(None), *across)] += result * self._weight
        self._total[across] += self._weight

    def finished(self, before: int) -> Iterator[tuple[int, Tensor]]:
        """Yield where along x, and the posteriors there, if the windows to come begin behind it."""
        step = before - self._start
        if not step:
            return
        assert self._posterior is not None
        done = self._posterior[:, :step]
        done /= self._total[:step]
        yield self._start, done
        for sums in (self._posterior, self._total[None]):
            sums[:, :-step] = sums[:, step:].clone()
            sums[:, -step:] = 0
        self._start = before


def _within(
    slabs: Iterator[tuple[int, Tensor]], size: Sequence[int]
) -> Iterator[tuple[slice, Tensor]]:
    """Cut slabs where the image ends, behind which it is padded."""
    x, y, z = size
    for start, slab in slabs:
        kept = slab[:, : x - start, :y, :z]
        yield slice(start, start + kept.shape[1]), kept.cpu()
