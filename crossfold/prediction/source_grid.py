"""Posteriors from the training grid to the grid of the source image.

The image has many more voxels than the training grid, so this takes as long as a small network.
A structure costs as much as the box around it, and planes are made one by one, in cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfold.images import POSTERIOR_SCALE, Image
from crossfold.prediction.memory import InFile
from crossfold.prediction.postprocessing import box_around

# A little less than half a step of a byte: means of smaller values are bytes of 0.
_NOTHING = 0.499 / POSTERIOR_SCALE


def to_source_grid(posterior: Tensor | InFile, source: Image) -> NDArray[np.uint8]:
    """Bring posteriors of the training grid to the grid of the source image, linearly.

    Parameters
    ----------
    posterior
        (class, x, y, z), RAS.
    source
        Image whose grid is wanted; its extent is that of the training grid.

    Returns
    -------
    numpy.ndarray
        uint8 (x, y, z, structure) in units of 1 / `POSTERIOR_SCALE`, in Fortran order as files
        are; background is left out.
    """
    maps = posterior.structures() if isinstance(posterior, InFile) else posterior[1:]
    on_source = np.zeros((*source.array.shape, len(posterior) - 1), dtype=np.uint8, order="F")
    for structure, target in zip(maps, on_source.T, strict=True):
        _interpolate(source.from_ras(structure.numpy()).T, target)
    return on_source


@dataclass(frozen=True)
class _Axis:
    """The voxels of an axis that lie between two voxels of another grid, of which one counts.

    Parameters
    ----------
    part
        Where they are.
    before, after
        Places of the two voxels on the other grid, for each voxel.
    share
        Of `after` in the mean of the two.
    """

    part: slice
    before: Tensor
    after: Tensor
    share: Tensor

    @classmethod
    def of(cls, length: int, size: int, counting: slice) -> _Axis:
        """Divide an axis of `length` voxels into `size`, of which `counting` matter."""
        place = ((torch.arange(size, dtype=torch.float64) + 0.5) * length / size - 0.5).clamp(0)
        before = place.long().clamp_max(length - 1)
        after = (before + 1).clamp_max(length - 1)
        touched = torch.nonzero((after >= counting.start) & (before < counting.stop)).flatten()
        part = slice(int(touched[0]), int(touched[-1]) + 1) if len(touched) else slice(0)
        share = (place - before).float()
        return cls(part, before[part], after[part], share[part])


def _interpolate(array: NDArray[np.float32], target: NDArray[np.uint8]) -> None:
    """Write a posterior (z, y, x) as bytes to a grid of another size, which is 0 so far."""
    box = box_around(array > _NOTHING)
    if box is None:
        return
    z, y, x = (_Axis.of(*sizes) for sizes in zip(array.shape, target.shape, box, strict=True))
    grid = torch.from_numpy(np.ascontiguousarray(array))
    planes = torch.from_numpy(target)[z.part, y.part, x.part]
    rows = y.share[:, None]
    for plane, before, after, share in zip(planes, z.before, z.after, z.share, strict=True):
        small = grid[before].lerp(grid[after], share).mul_(POSTERIOR_SCALE)
        wide = small.index_select(1, x.before).lerp(small.index_select(1, x.after), x.share)
        plane.copy_(wide[y.before].lerp(wide[y.after], rows).round_())
