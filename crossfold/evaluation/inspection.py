"""What gives away a failure that a reader should look at: border, remote parts, exchanged sides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import cc3d
import numpy as np

from crossfold.evaluation.mask_pairs import LabelMapPair, MaskPair
from crossfold.evaluation.metrics import Box

_SIDE = re.compile(r"(?P<organ>.+)_(?P<side>l|r|left|right)")
_OTHER_SIDE = {"l": "r", "r": "l", "left": "right", "right": "left"}


def mirror_partners(
    structures: Iterable[str], mirror_pairs: Iterable[Sequence[str]] = ()
) -> dict[str, str]:
    """Find the structure on the other side of the body for those that have one.

    Parameters
    ----------
    structures
        Names of structures and derived structures.
    mirror_pairs
        Pairs of `training.augmentation.mirror_pairs`. Of the others, names that differ only in the
        suffix _l and _r, or _left and _right, in capitals or not, are pairs as well.

    Examples
    --------
    >>> mirror_partners(["femur_l", "femur_r", "bladder"])
    {'femur_l': 'femur_r', 'femur_r': 'femur_l'}
    """
    partners = {name: pair[1 - side] for pair in mirror_pairs for side, name in enumerate(pair)}
    by_name = {name.lower(): name for name in structures if name not in partners}
    for lower, name in by_name.items():
        parts = _SIDE.fullmatch(lower)
        other = parts and by_name.get(f"{parts['organ']}_{_OTHER_SIDE[parts['side']]}")
        if other:
            partners[name] = other
    return partners


def touches_border(maps: LabelMapPair, structure: str) -> bool:
    """Whether the prediction reaches a face of the image that the reference does not reach."""
    shape = maps.reference.shape
    of_reference, of_prediction = (_faces(box, shape) for box in maps.boxes(structure))
    return not of_prediction <= of_reference


def remote_component_mm(masks: MaskPair) -> float:
    """Largest distance from the reference at which a component of the prediction begins.

    Components are counted with 26 neighbours, as in metrics.csv. Distances run between centres of
    voxels and are 0 where a component overlaps the reference; NaN where a mask is empty.
    """
    if masks.state != "ok":
        return np.nan
    # Contiguous bytes: cc3d 4.1.1 fails for booleans in boxes one voxel thin.
    prediction = np.ascontiguousarray(masks.prediction).view(np.uint8)
    components, number = cc3d.connected_components(prediction, connectivity=26, return_N=True)
    squared = np.full(number + 1, np.inf)
    # What is nearest to something outside lies on the surface.
    surface = masks.surfaces[1]
    np.minimum.at(squared, components[surface], masks.squared_distances[0][surface])
    squared[components[masks.reference & masks.prediction]] = 0
    return float(np.sqrt(squared[1:].max()))


def dice_swapped(maps: LabelMapPair, structure: str, partner: str) -> float:
    """Dice of a structure with what was predicted as its partner.

    A swap of sides shows where this is high and the Dice of the structure itself low.
    """
    return maps.pair(structure, predicted_as=partner).dice


def _faces(box: Box | None, shape: Sequence[int]) -> set[tuple[int, int]]:
    """Axis and position of each face of the image that a box touches."""
    sides = [] if box is None else list(zip(box, shape, strict=True))
    first = {(axis, 0) for axis, (side, _) in enumerate(sides) if side.start == 0}
    return first | {(axis, size) for axis, (side, size) in enumerate(sides) if side.stop == size}
