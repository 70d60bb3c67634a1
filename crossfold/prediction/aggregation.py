"""One posterior from those of several members, and what the members themselves would have said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfold.config.prediction import Aggregation
from crossfold.images import POSTERIOR_SCALE, Image, read_header, read_posterior
from crossfold.prediction.postprocessing import segment
from crossfold.prediction.staple import staple

FINE = 65_280
"""Unit of posteriors that are no sums of bytes: 256 steps to each of those on disk."""
# A byte of 0 is anything below half a step; its logarithm must not outvote all other members.
LEAST = 0.5


@dataclass(frozen=True)
class Aggregate:
    """What an ensemble says about a subject.

    Parameters
    ----------
    posterior
        Unsigned integers (x, y, z, structure) in units of 1 / `whole`.
    whole
        The integer that stands for probability 1.
    members
        uint8 (x, y, z) each: the likeliest structure of every member.
    like
        Affine and header of the grid; its array is empty.
    """

    posterior: NDArray[np.unsignedinteger]
    whole: int
    members: Sequence[NDArray[np.uint8]]
    like: Image

    def likeliest(self) -> NDArray[np.uint8]:
        """Return the likeliest structure of every voxel, uint8 (x, y, z)."""
        if len(self.members) == 1:
            return self.members[0]
        return segment(self.posterior, whole=self.whole, labels={})

    def disagreement(self, likeliest: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the share of the members that would label a voxel otherwise, uint8 (x, y, z).

        In units of 1 / `POSTERIOR_SCALE`. Both sides are before post-processing: what is removed
        there says nothing about members.
        """
        others = np.zeros_like(likeliest)
        for member in self.members:
            others += member != likeliest
        shares = np.arange(len(self.members) + 1) / len(self.members)
        return np.rint(shares * POSTERIOR_SCALE).astype(np.uint8)[others]


def aggregate(files: Sequence[Path], method: Aggregation) -> Aggregate:
    """Combine the posteriors of one subject, with one of the files in memory at a time.

    Parameters
    ----------
    files
        Posteriors of the members.
    method
        As in `combine`.
    """
    header = read_header(files[0])
    like = Image(np.empty(0), np.asarray(header.affine, dtype=np.float64), header.header)
    return combine((read_posterior(file).array for file in files), len(files), method, like)


def combine(
    posteriors: Iterable[NDArray[np.uint8]], n_members: int, method: Aggregation, like: Image
) -> Aggregate:
    """Combine the posteriors of one subject, each of which is asked for once.

    Parameters
    ----------
    posteriors
        Of the members: uint8 (x, y, z, structure) in units of 1 / `POSTERIOR_SCALE`; fastest in
        Fortran order, as files are.
    n_members
        Their number.
    method
        average: the mean, as `monai.transforms.MeanEnsemble`, but in exact integers. log_average:
        the geometric mean, divided by its sum over the classes; a byte of 0 counts as half a step.
        majority_vote: the share of members whose likeliest class it is; a tie goes to the
        background and then to the first structure, as in `monai.transforms.VoteEnsemble`. staple:
        see `crossfold.prediction.staple`, of the members' likeliest classes.
    like
        Affine and header of the grid.
    """
    labels: list[NDArray[np.uint8]] = []

    def labelled() -> Iterator[NDArray[np.uint8]]:
        for array in posteriors:
            labels.append(segment(array, whole=POSTERIOR_SCALE, labels={}))
            yield array

    posterior: NDArray[np.unsignedinteger]
    if method == "average":
        posterior, whole = _add(labelled(), n_members), POSTERIOR_SCALE * n_members
    elif method == "log_average":
        posterior, whole = _geometric_mean(labelled(), n_members), FINE
    else:
        for array in labelled():
            n_structures = array.shape[-1]
        if method == "majority_vote":
            posterior, whole = _count_votes(labels, n_structures), n_members
        else:
            # Transposed, because files are in Fortran order.
            maps = [member.T for member in labels]
            posterior, whole = staple(maps, n_structures=n_structures, whole=FINE).T, FINE
    return Aggregate(posterior, whole, labels, like)


def _add(
    posteriors: Iterable[NDArray[np.uint8]], n_members: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    remaining = iter(posteriors)
    first = next(remaining)
    if n_members == 1:
        return first
    total = first.astype(np.uint16)
    del first
    for posterior in remaining:
        total += posterior
    return total


def _geometric_mean(posteriors: Iterable[NDArray[np.uint8]], n_members: int) -> NDArray[np.uint16]:
    logarithm = np.log(np.maximum(np.arange(POSTERIOR_SCALE + 1), LEAST), dtype=np.float32)
    logarithm /= n_members
    total: NDArray[np.float32] | None = None
    for posterior in posteriors:
        background = POSTERIOR_SCALE - posterior.sum(axis=-1, dtype=np.int32)
        # Each structure is rounded, and their sum may be a little more than 1.
        classes = [np.maximum(background, 0), *np.moveaxis(posterior, -1, 0)]
        if total is None:
            total = np.zeros((len(classes), *background.shape[::-1]), dtype=np.float32)
        for of_class, values in zip(total, classes, strict=True):
            of_class += logarithm[values.T]
        del posterior, background, classes, values  # the next member needs the room
    assert total is not None
    np.exp(total, out=total)
    scale = FINE / total.sum(axis=0)
    result = np.empty((len(total) - 1, *scale.shape), dtype=np.uint16)
    for structure, of_class in zip(result, total[1:], strict=True):
        structure[:] = np.rint(of_class * scale)
    return result.T


def _count_votes(labels: Sequence[NDArray[np.uint8]], n_structures: int) -> NDArray[np.uint8]:
    votes = np.zeros((n_structures, *labels[0].T.shape), dtype=np.uint8)
    for member in labels:
        for value, structure in enumerate(votes, start=1):
            structure += np.equal(member.T, value)
    return votes.T
