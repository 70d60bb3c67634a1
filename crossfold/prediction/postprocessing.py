"""What is done to a segmentation after the argmax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray


def segment(
    posterior: NDArray[np.unsignedinteger],
    *,
    whole: int,
    labels: Mapping[str, Sequence[int]],
    largest_component: Iterable[str] = (),
) -> NDArray[np.uint8]:
    """Turn posteriors of structures into a segmentation.

    Parameters
    ----------
    posterior
        (x, y, z, structure), integers in units of 1 / `whole`; background has the rest. A structure
        needs more than the background and every structure before it.
    whole
        The integer that stands for probability 1.
    labels
        Label values of structures and derived structures.
    largest_component
        Structures, or derived structures, of which only the largest part is kept.

    Returns
    -------
    numpy.ndarray
        uint8 (x, y, z).
    """
    strongest = whole - posterior.sum(axis=-1, dtype=np.int32)
    segmentation = np.zeros(strongest.shape, dtype=np.uint8)
    for value in range(1, posterior.shape[-1] + 1):
        structure = posterior[..., value - 1]
        segmentation[structure > strongest] = value
        np.maximum(strongest, structure, out=strongest)
    for name in largest_component:
        keep_largest_component(segmentation, labels[name])
    return segmentation


def keep_largest_component(segmentation: NDArray[np.uint8], values: Sequence[int]) -> None:
    """Remove, in place, all but the largest part of the union of some labels.

    Voxels belong together when they share a face.
    """
    # Contiguous integers: cc3d 4.1.1 miscounts views and thin boolean boxes.
    union = np.ascontiguousarray(np.isin(segmentation, values)).view(np.uint8)
    largest = cc3d.largest_k(union, k=1, connectivity=6)
    segmentation[(union > 0) & (largest == 0)] = 0
