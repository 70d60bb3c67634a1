"""What a prediction takes of memory, and what is kept in a file where that is too much."""

from __future__ import annotations

import errno
import math
import os
import resource
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossfold.errors import CrossfoldError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a full disk, a used up quota and a file that is too large."""


class DiskFullError(CrossfoldError):
    """There is no room for a file: neither for that of another subject."""


FLOAT = 4
# What Python, torch and the libraries take where the system does not tell.
_PROCESS_BYTES = 2**29
# Allocators round up, and arrays are freed a little later than they could be.
_SLACK = 1.1


@dataclass(frozen=True, kw_only=True)
class Need:
    """What it takes to predict one subject.

    Parameters
    ----------
    channels, structures, members
        Their numbers.
    source, grid, window
        Voxels along x, y, z: of the image, of the same on the training grid, and of a window.
    aggregation
        How members become one.
    features
        Bytes of what the network keeps of a batch of windows.
    resident
        Bytes of the process with its networks, before an image is read.
    """

    channels: int
    structures: int
    members: int
    source: Sequence[int]
    grid: Sequence[int]
    window: Sequence[int]
    aggregation: str
    features: int
    resident: int

    @property
    def whole_gb(self) -> float:
        """Memory with all posteriors of a member in memory, the process included."""
        return self._gb(math.prod(self.grid), in_file=False)

    @property
    def least_gb(self) -> float:
        """Memory with the posteriors of a member in a file, the process included."""
        _, y, z = self.grid
        # What is left of a slab is copied when the window moves on.
        return self._gb(2 * min(self.window[0], self.grid[0]) * y * z, in_file=True)

    def fits_whole(self, memory_gb: float | None) -> bool:
        """Say whether all can be in memory; None: as much as it takes.

        Raises
        ------
        CrossfoldError
            If a file for the posteriors does not help either.
        """
        if memory_gb is None or self.whole_gb <= memory_gb:
            return True
        if self.least_gb <= memory_gb:
            return False
        size = " x ".join(map(str, self.source))
        raise CrossfoldError(
            f"an image of {size} voxels takes {self.least_gb:.1f} GB, {memory_gb:g} are allowed",
            remedy=f"allow --memory {math.ceil(10 * self.least_gb) / 10:g}, or cut the image",
        )

    def _gb(self, voxels: int, *, in_file: bool) -> float:
        """Return the most that any step takes, if sums over windows are kept for so many voxels."""
        source, grid = math.prod(self.source), math.prod(self.grid)
        classes = self.structures + 1
        logarithms = self.members > 1 and self.aggregation == "log_average"
        sums = FLOAT * classes if logarithms else 2 * self.structures * (self.members > 1)
        held = (sums + self.members) * source
        maps = FLOAT * grid * (1 if in_file else classes)
        steps = (
            # Reading: axes in order, and smoothed for a coarser grid.
            3 * FLOAT * source + 20 * grid,
            # Windows.
            held
            + 2 * FLOAT * self.channels * grid
            + FLOAT * (classes + 1) * voxels
            + self.features,
            # On the grid of the image, and the likeliest structure there.
            held + maps + (self.structures + 1) * source,
            held + logarithms * (2 * self.structures + 3 * FLOAT) * source,
            # Parts of the largest structure, and what remains to be written.
            held + (self.structures + 10) * source,
        )
        images = self.channels * (FLOAT * source + 2 * grid)
        return (self.resident + _SLACK * (images + max(steps))) / 1e9


def resident_bytes() -> int:
    """Return what this process has in memory now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _PROCESS_BYTES
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory_gb() -> float:
    """Return the most memory that this process has had so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def machine_gb() -> float:
    """Return the memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def features_of(network: nn.Module, windows: Tensor) -> int:
    """Return the bytes of everything that the layers of a network return for a batch of windows."""
    counted = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal counted
        if isinstance(output, Tensor):
            counted += output.numel() * output.element_size()

    layers = [
        module
        for module in network.modules()
        if not any(module.children()) and not getattr(module, "inplace", False)
    ]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        network(windows)
    finally:
        for hook in hooks:
            hook.remove()
    return counted


class InFile:
    """Posteriors (class, x, y, z) in a file without a name, which ends with the process.

    Parameters
    ----------
    folder
        Where there is room for it.
    n_classes
        Number of classes.
    size
        Voxels along x, y, z.

    Raises
    ------
    DiskFullError
        If there is not enough room.
    """

    def __init__(self, folder: Path, n_classes: int, size: Sequence[int]) -> None:
        self._folder, self._n_classes = folder, n_classes
        self._size = tuple(size)
        self._mask: Tensor | None = None
        self._file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __len__(self) -> int:
        """Return the number of classes."""
        return self._n_classes

    def write(self, part: slice, slab: Tensor) -> None:
        """Keep a slab along x, (class, x, y, z)."""
        x, y, z = self._size
        try:
            for number, of_class in enumerate(slab):
                self._file.seek(FLOAT * (number * x + part.start) * y * z)
                self._file.write(np.ascontiguousarray(of_class.numpy()).data)
            self._file.flush()
        except OSError as error:
            if error.errno not in FULL:
                raise
            needed = FLOAT * self._n_classes * math.prod(self._size)
            raise DiskFullError(
                f"{self._folder}: no room for posteriors of {needed / 1e9:.2g} GB",
                remedy="make room, or allow more --memory, which does without that file",
            ) from error

    def within(self, mask: NDArray[np.bool_]) -> InFile:
        """Show structures inside of a mask (x, y, z) alone."""
        self._mask = torch.from_numpy(mask)
        return self

    def structures(self) -> Iterator[Tensor]:
        """Yield the posterior (x, y, z) of one class after the other, without the background."""
        count = math.prod(self._size)
        for number in range(1, self._n_classes):
            self._file.seek(FLOAT * number * count)
            array = np.fromfile(self._file, dtype=np.float32, count=count).reshape(self._size)
            of_class = torch.from_numpy(array)
            yield of_class if self._mask is None else of_class.mul_(self._mask)
        self._file.close()
