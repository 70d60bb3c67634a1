"""STAPLE: the segmentation that several segmentations most probably stem from.

Warfield, Zou and Wells, Simultaneous truth and performance level estimation (STAPLE), IEEE
Transactions on Medical Imaging 23, 2004, doi 10.1109/TMI.2004.828354; with a confusion matrix per
member in place of sensitivity and specificity, since structures exclude each other (Rohlfing et
al., Performance-based classifier combination in atlas-based image segmentation, IEEE Transactions
on Medical Imaging 23, 2004, doi 10.1109/TMI.2004.830803).

No dependency of Crossfold offers it. Voxels that all members label alike in the same way count as
one pattern with its number of voxels, so that an iteration takes microseconds on any image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import softmax

# Where Warfield's implementation starts: members are almost perfect.
FIRST_RELIABILITY = 0.99999
MOST_ITERATIONS = 200
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Truth:
    """What is believed after the last iteration.

    Parameters
    ----------
    weights
        (pattern, label): probability that a voxel of the pattern has the label.
    confusion
        (member, true label, given label): probability that a member gives a label.
    """

    weights: NDArray[np.float64]
    confusion: NDArray[np.float64]


def estimate_truth(
    patterns: NDArray[np.uint8], counts: NDArray[np.integer], n_labels: int
) -> Truth:
    """Estimate the true labels and the reliability of the members from each other.

    Parameters
    ----------
    patterns
        (pattern, member): the label that each member gives; 0 is background.
    counts
        (pattern,): number of voxels with that pattern.
    n_labels
        Number of labels, background included.
    """
    given = np.eye(n_labels)[patterns]
    prior = np.einsum("p,pml->l", counts, given) / (counts.sum() * patterns.shape[1])
    others = (1 - FIRST_RELIABILITY) / max(1, n_labels - 1)
    start = np.full((n_labels, n_labels), others)
    np.fill_diagonal(start, FIRST_RELIABILITY)
    confusion = np.broadcast_to(start, (patterns.shape[1], n_labels, n_labels))
    weights = _expect(given, prior, confusion)
    for _ in range(MOST_ITERATIONS):
        seen = np.einsum("p,pt,pml->mtl", counts, weights, given)
        total = seen.sum(axis=2, keepdims=True)
        # What is never true tells nothing about a member.
        updated = np.where(total > 0, seen / np.where(total > 0, total, 1), confusion)
        change = np.abs(updated - confusion).max()
        confusion = updated
        weights = _expect(given, prior, confusion)
        if change < TOLERANCE:
            break
    return Truth(weights, confusion)


def _expect(
    given: NDArray[np.float64], prior: NDArray[np.float64], confusion: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probability of each true label for each pattern."""
    smallest = np.finfo(float).tiny
    log_prior, log_confusion = (np.log(np.maximum(p, smallest)) for p in (prior, confusion))
    return softmax(log_prior + np.einsum("pml,mtl->pt", given, log_confusion), axis=1)


def staple(
    members: Sequence[NDArray[np.uint8]], *, n_structures: int, whole: int
) -> NDArray[np.uint16]:
    """Return STAPLE's posteriors of structures.

    Reliabilities are estimated in the box around all voxels on which members differ, so that they
    do not depend on how much air an image shows. Outside of it there is nothing to decide.

    Parameters
    ----------
    members
        Label maps of the same shape; fastest in C order.
    n_structures
        Number of structures.
    whole
        The integer that stands for probability 1.

    Returns
    -------
    numpy.ndarray
        uint16 (structure, *shape) in units of 1 / `whole`.
    """
    first = members[0]
    disputed = np.zeros(first.shape, dtype=bool)
    for member in members[1:]:
        disputed |= member != first
    posterior = np.zeros((n_structures, *first.shape), dtype=np.uint16)
    for value, structure in enumerate(posterior, start=1):
        structure[first == value] = whole
    if not disputed.any():
        return posterior
    patterns, pattern_of, counts = _patterns(np.stack([member[disputed] for member in members]))
    box = ndimage.find_objects(disputed.view(np.uint8))[0]
    agreed = np.bincount(first[box][~disputed[box]], minlength=n_structures + 1)
    unanimous = np.arange(n_structures + 1, dtype=np.uint8)[:, np.newaxis]
    truth = estimate_truth(
        np.concatenate([patterns, np.repeat(unanimous, len(members), axis=1)]),
        np.concatenate([counts, agreed]),
        n_structures + 1,
    )
    scaled = np.rint(truth.weights[: len(patterns)] * whole).astype(np.uint16)
    for value, structure in enumerate(posterior, start=1):
        structure[disputed] = scaled[pattern_of, value]
    return posterior


def _patterns(
    votes: NDArray[np.uint8],
) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.intp]]:
    """Return the distinct columns of (member, voxel), which one each voxel has, and how many."""
    code = np.zeros(votes.shape[1], dtype=np.intp)
    for member in votes:
        # Numbered anew for each member: codes stay small, however many members there are.
        _, example, code, counts = np.unique(
            code * 256 + member, return_index=True, return_inverse=True, return_counts=True
        )
    return votes[:, example].T, code, counts
