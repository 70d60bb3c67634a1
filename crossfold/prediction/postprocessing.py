"""From posteriors to a segmentation, and what is done to it.

Always in this order, whatever the order in the configuration: posteriors are smoothed; the
likeliest structure wins each voxel; summed probabilities; largest components; slice exclusion;
filled holes. All but the last are InnerEye's, in its order. Holes come last, because what is
background is known only then: a stray component that is removed may have lain in a hole.

Directions are those of the patient (right, anterior, superior), however the file is oriented.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import cc3d
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.config.prediction import BACKGROUND, PostprocessingConfig, SummedProbability

SUPERIOR = 2
# scipy.ndimage's own: the Gaussian ends after four standard deviations.
TRUNCATE = 4.0


def segment(
    posterior: NDArray[np.unsignedinteger],
    *,
    whole: int,
    labels: Mapping[str, Sequence[int]],
    postprocessing: PostprocessingConfig | None = None,
    affine: NDArray[np.float64] | None = None,
    likeliest: NDArray[np.uint8] | None = None,
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
    postprocessing
        Section of the model; None: the likeliest structure of each voxel, and no more.
    affine
        4 x 4, voxel indices to mm; None: voxels of 1 mm along right, anterior, superior.
    likeliest
        What `segment` returns without post-processing, if it is known already.

    Returns
    -------
    numpy.ndarray
        uint8 (x, y, z).
    """
    steps = postprocessing or PostprocessingConfig()
    affine = np.eye(4) if affine is None else affine
    if steps.summed_probability or np.any(steps.smoothing_mm):
        segmentation = _of_changed_posteriors(posterior, whole, labels, steps, affine)
    elif likeliest is not None:
        segmentation = likeliest.copy(order="K")
    else:
        segmentation = np.empty_like(posterior[..., 0], dtype=np.uint8)
        for z in range(segmentation.shape[2]):  # so that it stays in cache
            maps = np.moveaxis(posterior[:, :, z], -1, 0)
            segmentation[..., z], _ = _likeliest(iter(maps), whole, ())
    for name, threshold in steps.components():
        keep_largest_component(segmentation, labels[name], threshold)
    for rule in steps.slice_exclusion:
        higher, lower = labels[rule.higher][0], labels[rule.lower][0]
        exclude_slices(segmentation, higher, lower, affine, keep_higher=rule.keep == "higher")
    for name in steps.fill_holes:
        fill_holes(segmentation, labels[name], posterior)
    return segmentation


def _of_changed_posteriors(
    posterior: NDArray[np.unsignedinteger],
    whole: int,
    labels: Mapping[str, Sequence[int]],
    steps: PostprocessingConfig,
    affine: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Return the likeliest structures where some are smoothed or added up before."""
    named = {
        name
        for rule in steps.summed_probability
        for name in (rule.first, rule.second, rule.external)
    }
    values = {0 if name == BACKGROUND else labels[name][0] for name in named}
    segmentation, likely = _likeliest(_maps(posterior, steps, affine), whole, values)
    for rule in steps.summed_probability:
        apply_summed_probability(segmentation, likely, rule, labels)
    return segmentation


def _maps(
    posterior: NDArray[np.unsignedinteger],
    steps: PostprocessingConfig,
    affine: NDArray[np.float64],
) -> Iterator[NDArray]:
    """Yield the posterior of one structure after the other, smoothed where that is asked for."""
    mm = np.broadcast_to(np.asarray(steps.smoothing_mm, dtype=float), 3)
    for structure in np.moveaxis(posterior, -1, 0):
        if mm.any():
            of_patient = io_orientation(affine)[:, 0].astype(int)
            yield smooth(structure, mm[of_patient] / voxel_sizes(affine))
        else:
            yield structure


def smooth(
    structure: NDArray[np.unsignedinteger], sigma: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Blur one posterior with a Gaussian, mirrored at the border of the image.

    The same as `scipy.ndimage.gaussian_filter`, which InnerEye used, but only where the posterior
    is not 0 anyway.

    Parameters
    ----------
    structure
        (x, y, z).
    sigma
        Standard deviation along its axes, in voxels.
    """
    blurred = np.zeros_like(structure, dtype=np.float32)
    reach = (TRUNCATE * sigma + 0.5).astype(int)
    box = box_around(structure, reach)
    if box is None:
        return blurred
    part = structure[box].astype(np.float32)
    if part.flags.f_contiguous:  # as nibabel reads it; scipy is slow that way
        part, sigma = part.T, sigma[::-1]
        blurred[box] = ndimage.gaussian_filter(part, sigma, truncate=TRUNCATE).T
    else:
        blurred[box] = ndimage.gaussian_filter(part, sigma, truncate=TRUNCATE)
    return blurred


def _box_of(segmentation: NDArray[np.uint8], values: Sequence[int]) -> tuple[slice, ...] | None:
    """Box around some labels; None where there is none of them."""
    union = reduce(np.logical_or, (segmentation == value for value in values))
    return box_around(union)


def box_around(array: NDArray, margin: Iterable[int] = (0, 0, 0)) -> tuple[slice, ...] | None:
    """Box around what is not 0, with a margin in voxels that ends at the border; None: all is 0."""
    box = []
    for axis, grown in enumerate(margin):
        others = tuple(other for other in range(array.ndim) if other != axis)
        places = np.flatnonzero(array.any(axis=others))
        if not places.size:
            return None
        box.append(slice(max(0, int(places[0]) - grown), int(places[-1]) + 1 + grown))
    return tuple(box)


def _likeliest(
    maps: Iterator[NDArray], whole: int, kept: Collection[int]
) -> tuple[NDArray[np.uint8], dict[int, NDArray]]:
    """Return the segmentation, and the posteriors of the labels in `kept` (0: background)."""
    first = next(maps)
    strongest = first.copy(order="K")
    rest = whole - first.astype(np.float32 if first.dtype == np.float32 else np.int32)
    segmentation = np.ones_like(first, dtype=np.uint8)
    found = {1: first} if 1 in kept else {}
    for value, structure in enumerate(maps, start=2):
        segmentation[structure > strongest] = value
        np.maximum(strongest, structure, out=strongest)
        rest -= structure
        if value in kept:
            found[value] = structure
    segmentation[strongest <= rest] = 0
    if 0 in kept:
        found[0] = rest
    return segmentation, found


def apply_summed_probability(
    segmentation: NDArray[np.uint8],
    likely: Mapping[int, NDArray],
    rule: SummedProbability,
    labels: Mapping[str, Sequence[int]],
) -> None:
    """Give voxels of the surrounding structure, in place, to one of two that outweigh it together.

    Parameters
    ----------
    segmentation
        (x, y, z).
    likely
        Posterior (x, y, z) of each label that the rule names; 0: background.
    rule
        Names of the structures; `first` wins a tie.
    labels
        Label values of structures.
    """
    first, second = labels[rule.first][0], labels[rule.second][0]
    external = 0 if rule.external == BACKGROUND else labels[rule.external][0]
    around = segmentation == external
    one, other, surrounding = (
        likely[value][around].astype(np.float32) for value in (first, second, external)
    )
    taken = np.where(one >= other, np.uint8(first), np.uint8(second))
    segmentation[around] = np.where(surrounding < one + other, taken, np.uint8(external))


def keep_largest_component(
    segmentation: NDArray[np.uint8], values: Sequence[int], threshold: float | None = None
) -> None:
    """Remove, in place, all but the largest part of the union of some labels.

    Voxels belong together when they share a face.

    Parameters
    ----------
    segmentation
        (x, y, z).
    values
        Labels of the union.
    threshold
        Keep every part with at least this share of the voxels; where there is none, and from 0.5
        on, only the largest (as in InnerEye).
    """
    box = _box_of(segmentation, values)
    if box is None:
        return
    part = segmentation[box]
    # Contiguous integers: cc3d 4.1.1 miscounts views and thin boolean boxes.
    union = np.ascontiguousarray(np.isin(part, values)).view(np.uint8)
    kept: NDArray = np.zeros_like(union)
    if threshold is not None and threshold < 0.5:
        # Rounded, because 0.07 * 100 is a little more than 7.
        smallest = math.ceil(round(threshold * int(np.count_nonzero(union)), 6))
        kept = cc3d.dust(union, threshold=smallest, connectivity=6)
    if not kept.any():
        kept = cc3d.largest_k(union, k=1, connectivity=6)
    part[(union > 0) & (kept == 0)] = 0


def exclude_slices(
    segmentation: NDArray[np.uint8],
    higher: int,
    lower: int,
    affine: NDArray[np.float64],
    *,
    keep_higher: bool,
) -> None:
    """Make, in place, one structure of two in the axial slices between their wrong ends.

    Parameters
    ----------
    segmentation
        (x, y, z).
    higher, lower
        Labels of the structure nearer to the head, and of the one nearer to the feet.
    affine
        4 x 4, voxel indices to mm: which axis runs from feet to head.
    keep_higher
        Whether the shared slices, from the lowest of `higher` to the highest of `lower`, become
        those of `higher`.
    """
    orientation = io_orientation(affine)
    axis = int(np.flatnonzero(orientation[:, 0] == SUPERIOR)[0])
    slices = np.moveaxis(segmentation, axis, 0)
    if orientation[axis, 1] < 0:
        slices = slices[::-1]
    of_higher, of_lower = (
        np.flatnonzero((slices == value).any(axis=(1, 2))) for value in (higher, lower)
    )
    if of_higher.size and of_lower.size:
        shared = slices[of_higher[0] : of_lower[-1] + 1]
        kept, replaced = (higher, lower) if keep_higher else (lower, higher)
        shared[shared == replaced] = kept


def fill_holes(
    segmentation: NDArray[np.uint8],
    values: Sequence[int],
    posterior: NDArray[np.unsignedinteger],
) -> None:
    """Fill, in place, the background that the union of some labels encloses.

    A hole is what cannot be left through faces of voxels without crossing the union; it may touch
    no border of the image. Other structures in it stay, unlike in `monai.transforms.FillHoles`.

    Parameters
    ----------
    segmentation
        (x, y, z).
    values
        Labels of the union.
    posterior
        (x, y, z, structure): of several labels, the likeliest fills a voxel, or the first.
    """
    box = _box_of(segmentation, values)
    if box is None:
        return
    part = segmentation[box]
    holes = ndimage.binary_fill_holes(np.isin(part, values)) & (part == 0)
    if holes.any():
        likely = np.stack([posterior[..., value - 1][box][holes] for value in values])
        part[holes] = np.asarray(values, dtype=np.uint8)[likely.argmax(axis=0)]
