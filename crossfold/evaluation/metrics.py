"""How well a predicted segmentation agrees with its reference, on the grid of the source image.

Conventions (after Reinke et al., Nature Methods 2024, doi 10.1038/s41592-023-02150-0):

- Surfaces are those of `crossfold.evaluation.surface`, distances and tolerances are in mm.
- HD is the larger of the two directed maxima, HD95 the larger of the two directed 95th percentiles
  (linear interpolation), ASSD the mean over the voxels of both surfaces, NSD the fraction of the
  voxels of both surfaces that lie within the tolerance of the other one.
- Components are counted with 26 neighbours: voxels that share a corner are connected.
- A failure is a value, never a gap:

  ============  =========  ==========  ==============  ==============
  state         reference  prediction  Dice, IoU, NSD  HD, HD95, ASSD
  ============  =========  ==========  ==============  ==============
  ok            present    present     in [0, 1]       finite
  missed        present    empty       0               inf
  hallucinated  empty      present     0               inf
  true_absent   empty      empty       NaN             NaN
  ============  =========  ==========  ==============  ==============
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.errors import CrossfoldError
from crossfold.evaluation.surface import surface_distances

State = Literal["ok", "missed", "hallucinated", "true_absent"]
Box = tuple[slice, slice, slice]

STATE_OF: dict[tuple[bool, bool], State] = {
    (True, True): "ok",
    (True, False): "missed",
    (False, True): "hallucinated",
    (False, False): "true_absent",
}
_SURFACES_OF_NOTHING = (np.nan, np.nan, np.nan, np.nan)
_SURFACES_OF_FAILURE = (0.0, np.inf, np.inf, np.inf)
_EMPTY_BOX: Box = (slice(0, 0), slice(0, 0), slice(0, 0))
ROUNDING = 1 + 1e-5
"""Distances are single precision: one that equals a tolerance must still count as within it."""


@dataclass(frozen=True)
class StructureMetrics:
    """Agreement of one predicted structure with its reference, in one subject."""

    state: State
    """Which of the two masks are present."""
    dice: float
    """Dice coefficient."""
    iou: float
    """Intersection over union (Jaccard index)."""
    nsd: float
    """Normalised surface Dice at `nsd_tolerance_mm`."""
    nsd_tolerance_mm: float
    """Distance in mm up to which two surfaces are said to agree."""
    hd_mm: float
    """Hausdorff distance."""
    hd95_mm: float
    """95th percentile of the Hausdorff distance."""
    assd_mm: float
    """Average symmetric surface distance."""
    volume_ref_ml: float
    """Volume of the reference."""
    volume_pred_ml: float
    """Volume of the prediction."""
    volume_diff_ml: float
    """Prediction minus reference."""
    volume_diff_pct: float
    """Difference in percent of the reference; inf where there is no reference to relate it to."""
    fp_volume_ml: float
    """Volume of the prediction outside the reference."""
    fn_volume_ml: float
    """Volume of the reference outside the prediction."""
    n_components_ref: int
    """Connected components of the reference."""
    n_components_pred: int
    """Connected components of the prediction."""


def measure_structure(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    *,
    spacing_mm: Sequence[float],
    nsd_tolerance_mm: float,
) -> StructureMetrics:
    """Compare a predicted mask with its reference.

    Parameters
    ----------
    reference, prediction
        Boolean arrays (x, y, z) on the same grid.
    spacing_mm
        Voxel size along x, y, z.
    nsd_tolerance_mm
        Tolerance of the normalised surface Dice.

    Raises
    ------
    CrossfoldError
        If a mask is not boolean, the shapes differ, a spacing is not positive or the tolerance is
        negative.
    """
    if not reference.dtype == prediction.dtype == bool:
        raise CrossfoldError(
            f"masks of type {reference.dtype} and {prediction.dtype}",
            remedy="threshold probabilities, and compare label maps with a value",
        )
    _check(reference, prediction, spacing_mm, [nsd_tolerance_mm])
    boxes = [bounding_boxes(mask.view(np.uint8), 1)[0] for mask in (reference, prediction)]
    box = union(boxes)
    return _measure(reference[box], prediction[box], spacing_mm, nsd_tolerance_mm)


def measure_label_maps(
    reference: NDArray[np.integer],
    prediction: NDArray[np.integer],
    *,
    labels: Mapping[str, Sequence[int]],
    spacing_mm: Sequence[float],
    nsd_tolerance_mm: Mapping[str, float],
) -> list[dict[str, object]]:
    """Compare every structure of a predicted label map with its reference.

    Parameters
    ----------
    reference, prediction
        Integer arrays (x, y, z) on the same grid; 0 is background.
    labels
        The label values of each structure: more than one where a structure is a union of others.
    spacing_mm
        Voxel size along x, y, z.
    nsd_tolerance_mm
        Tolerance of the normalised surface Dice for each structure.

    Returns
    -------
    list of dict
        One per structure, in the order of `labels`: `structure`, `label` (None for a union) and
        the fields of `StructureMetrics`.

    Raises
    ------
    CrossfoldError
        If the shapes differ, a spacing is not positive, a tolerance is missing or negative, or a
        structure has no label values or one below 1.
    """
    _check_labels(labels, nsd_tolerance_mm)
    _check(reference, prediction, spacing_mm, [nsd_tolerance_mm[name] for name in labels])
    if reference.flags.f_contiguous:  # as nibabel reads it; scipy is ten times slower that way
        reference, prediction, spacing_mm = reference.T, prediction.T, spacing_mm[::-1]
    largest = max((max(values) for values in labels.values()), default=1)
    maps = [(array, bounding_boxes(array, largest)) for array in (reference, prediction)]
    rows: list[dict[str, object]] = []
    for structure, values in labels.items():
        box = union(boxes[value - 1] for _, boxes in maps for value in values)
        of_reference, of_prediction = (mask_of(array[box], values) for array, _ in maps)
        metrics = _measure(of_reference, of_prediction, spacing_mm, nsd_tolerance_mm[structure])
        label = values[0] if len(values) == 1 else None
        rows.append({"structure": structure, "label": label, **vars(metrics)})
    return rows


def _measure(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    nsd_tolerance_mm: float,
) -> StructureMetrics:
    """Compare two masks that are cropped to the box around both."""
    n_reference, n_prediction, n_both = (
        int(np.count_nonzero(mask)) for mask in (reference, prediction, reference & prediction)
    )
    state = STATE_OF[n_reference > 0, n_prediction > 0]
    difference = n_prediction - n_reference
    voxel_ml = float(math.prod(spacing_mm)) / 1000
    if state == "ok":
        surfaces = _compare_surfaces(reference, prediction, spacing_mm, nsd_tolerance_mm)
    else:
        surfaces = _SURFACES_OF_NOTHING if state == "true_absent" else _SURFACES_OF_FAILURE
    nsd, hd_mm, hd95_mm, assd_mm = surfaces
    return StructureMetrics(
        state=state,
        dice=ratio(2 * n_both, n_reference + n_prediction),
        iou=ratio(n_both, n_reference + n_prediction - n_both),
        nsd=nsd,
        nsd_tolerance_mm=float(nsd_tolerance_mm),
        hd_mm=hd_mm,
        hd95_mm=hd95_mm,
        assd_mm=assd_mm,
        volume_ref_ml=n_reference * voxel_ml,
        volume_pred_ml=n_prediction * voxel_ml,
        volume_diff_ml=difference * voxel_ml,
        volume_diff_pct=ratio(100 * difference, n_reference),
        fp_volume_ml=(n_prediction - n_both) * voxel_ml,
        fn_volume_ml=(n_reference - n_both) * voxel_ml,
        n_components_ref=_count_components(reference),
        n_components_pred=_count_components(prediction),
    )


def _compare_surfaces(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    nsd_tolerance_mm: float,
) -> tuple[float, float, float, float]:
    """NSD, HD, HD95 and ASSD of two masks of which neither is empty."""
    directed = surface_distances(reference, prediction, spacing_mm)
    both = np.concatenate(directed)
    return (
        float(np.mean(both <= nsd_tolerance_mm * ROUNDING)),
        float(np.max(both)),
        float(max(np.percentile(distances, 95) for distances in directed)),
        float(np.mean(both)),
    )


def ratio(numerator: int, denominator: int) -> float:
    """Divide as IEEE 754 does: 0 / 0 is NaN, anything else / 0 is inf."""
    if denominator:
        return numerator / denominator
    return np.inf if numerator else np.nan


def _count_components(mask: NDArray[np.bool_]) -> int:
    # cc3d 4.1.1 fails for booleans in boxes one voxel thin, and miscounts non-contiguous arrays.
    labels = np.ascontiguousarray(mask).view(np.uint8)
    return int(cc3d.connected_components(labels, connectivity=26, return_N=True)[1])


def mask_of(label_map: NDArray[np.integer], values: Sequence[int]) -> NDArray[np.bool_]:
    """Voxels that have one of the values, in C order."""
    return reduce(np.logical_or, (np.equal(label_map, value, order="C") for value in values))


def bounding_boxes(label_map: NDArray[np.integer], largest: int) -> list[Box | None]:
    """Boxes around the labels 1 to `largest`, in one pass; None where a label is absent."""
    return ndimage.find_objects(label_map, max_label=largest)


def union(boxes: Iterable[Box | None]) -> Box:
    """Smallest box around all boxes that are present."""
    present = [box for box in boxes if box is not None]
    if not present:
        return _EMPTY_BOX
    x, y, z = (
        slice(min(side.start for side in sides), max(side.stop for side in sides))
        for sides in zip(*present, strict=True)
    )
    return x, y, z


def _check(
    reference: NDArray,
    prediction: NDArray,
    spacing_mm: Sequence[float],
    nsd_tolerances_mm: Iterable[float],
) -> None:
    if reference.shape != prediction.shape or reference.ndim != 3:
        raise CrossfoldError(
            f"a prediction of shape {prediction.shape} for a reference of shape {reference.shape}",
            remedy="compare three-dimensional maps on the grid of the source image",
        )
    if len(spacing_mm) != 3 or not all(0 < spacing < np.inf for spacing in spacing_mm):
        raise CrossfoldError(
            f"spacing_mm: {tuple(spacing_mm)} are not three positive numbers",
            remedy="mend the affine in the header of the source image",
        )
    for tolerance in nsd_tolerances_mm:
        if not 0 <= tolerance < np.inf:
            raise CrossfoldError(
                f"nsd_tolerance_mm: {tolerance} is not a distance",
                remedy="give 0 or a positive number of mm",
            )


def _check_labels(
    labels: Mapping[str, Sequence[int]], nsd_tolerance_mm: Mapping[str, float]
) -> None:
    for structure, values in labels.items():
        if not values or min(values) < 1:
            raise CrossfoldError(
                f"labels: {structure}: {list(values)} are not the values of a structure",
                remedy="name at least one value, and none below 1: 0 is the background",
            )
        if structure not in nsd_tolerance_mm:
            raise CrossfoldError(
                f"nsd_tolerance_mm: no tolerance for {structure}",
                remedy=f"add {structure}, in mm",
            )
