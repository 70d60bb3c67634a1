"""The ensemble of the folds: one posterior from all of theirs, then one segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from tqdm import tqdm

from crossfold.config.prediction import Aggregation, PostprocessingConfig
from crossfold.errors import CrossfoldError
from crossfold.images import POSTERIOR_SCALE, atomic_directory, write_image, write_posterior
from crossfold.paths import subject_file
from crossfold.prediction.aggregation import Aggregate, aggregate
from crossfold.prediction.postprocessing import segment


@dataclass(frozen=True)
class EnsembleFolders:
    """Where the ensemble is written, one `<subject>.nii.gz` each.

    Parameters
    ----------
    posteriors, segmentations
        As those of a fold.
    uncertainty
        Entropy of the aggregated posterior, background included, over its largest possible value.
    disagreement
        Share of the members that would label a voxel otherwise, before post-processing.
    """

    posteriors: Path
    segmentations: Path
    uncertainty: Path
    disagreement: Path


@dataclass(frozen=True)
class EnsembleMaps:
    """What is kept of an ensemble, on the grid of the source image; shares are in 1 / 255.

    Parameters
    ----------
    posterior
        uint8 (x, y, z, structure).
    segmentation
        uint8 (x, y, z).
    uncertainty, disagreement
        uint8 (x, y, z), as described at `EnsembleFolders`.
    """

    posterior: NDArray[np.uint8]
    segmentation: NDArray[np.uint8]
    uncertainty: NDArray[np.uint8]
    disagreement: NDArray[np.uint8]


def ensemble_folds(
    members: Sequence[Path],
    *,
    subjects: Sequence[str],
    labels: Mapping[str, Sequence[int]],
    folders: EnsembleFolders,
    aggregation: Aggregation = "average",
    postprocessing: PostprocessingConfig | None = None,
    workers: int = 1,
) -> None:
    """Combine the posteriors of the folds for the test subjects.

    Parameters
    ----------
    members
        Directories of posteriors of the test subjects, one per fold.
    subjects
        Test subjects.
    labels, postprocessing
        As in `segment`.
    folders
        Directories to write.
    aggregation
        As in `aggregate`.
    workers
        Threads, each with one subject at a time.

    Raises
    ------
    CrossfoldError
        If there is no test subject, or a member lacks one.
    """
    if not subjects:
        raise CrossfoldError(
            "splits.test: there is no test subject, so there is nothing to measure an ensemble on",
            remedy="raise splits.test, or ask for metrics.csv, which pools the folds",
        )
    with (
        atomic_directory(folders.posteriors) as posteriors,
        atomic_directory(folders.segmentations) as segmentations,
        atomic_directory(folders.uncertainty) as uncertainty,
        atomic_directory(folders.disagreement) as disagreement,
        ThreadPoolExecutor(workers) as pool,
    ):
        work = partial(
            _ensemble_subject,
            members=members,
            labels=labels,
            folders=EnsembleFolders(posteriors, segmentations, uncertainty, disagreement),
            aggregation=aggregation,
            postprocessing=postprocessing,
        )
        list(tqdm(pool.map(work, subjects), total=len(subjects), desc="ensemble", unit="subject"))


def _ensemble_subject(
    subject: str,
    *,
    members: Sequence[Path],
    labels: Mapping[str, Sequence[int]],
    folders: EnsembleFolders,
    aggregation: Aggregation,
    postprocessing: PostprocessingConfig | None,
) -> None:
    found = aggregate([subject_file(member, subject) for member in members], aggregation)
    maps = maps_of(found, labels=labels, postprocessing=postprocessing)
    write_image(subject_file(folders.segmentations, subject), maps.segmentation, found.like)
    for folder, stored in (
        (folders.disagreement, maps.disagreement),
        (folders.uncertainty, maps.uncertainty),
        (folders.posteriors, maps.posterior),
    ):
        write_posterior(subject_file(folder, subject), stored, found.like)


def maps_of(
    found: Aggregate,
    *,
    labels: Mapping[str, Sequence[int]],
    postprocessing: PostprocessingConfig | None,
) -> EnsembleMaps:
    """Return what is kept of an ensemble.

    Parameters
    ----------
    found
        What the ensemble says.
    labels, postprocessing
        As in `segment`.
    """
    likeliest = found.likeliest()
    segmentation = segment(
        found.posterior,
        whole=found.whole,
        labels=labels,
        postprocessing=postprocessing,
        affine=found.like.affine,
        likeliest=likeliest,
    )
    return EnsembleMaps(
        posterior=_as_bytes(found.posterior, found.whole),
        segmentation=segmentation,
        uncertainty=normalised_entropy(found.posterior, found.whole),
        disagreement=found.disagreement(likeliest),
    )


def _as_bytes(posterior: NDArray[np.unsignedinteger], whole: int) -> NDArray[np.uint8]:
    """Bring integers in units of 1 / `whole` to the unit of files, rounded half up."""
    if whole == POSTERIOR_SCALE:  # one member
        return posterior.astype(np.uint8, copy=False)
    steps, remainder = divmod(whole, POSTERIOR_SCALE)
    stored = np.empty_like(posterior, dtype=np.uint8)
    for structure, target in zip(
        np.moveaxis(posterior, -1, 0), np.moveaxis(stored, -1, 0), strict=True
    ):
        if remainder:
            target[:] = (structure.astype(np.int32) * POSTERIOR_SCALE + whole // 2) // whole
        else:
            target[:] = (structure + steps // 2) // steps
    return stored


def normalised_entropy(posterior: NDArray[np.unsignedinteger], whole: int) -> NDArray[np.uint8]:
    """Return the Shannon entropy of each voxel over its largest possible value, uint8 (x, y, z).

    In units of 1 / `POSTERIOR_SCALE`.

    Parameters
    ----------
    posterior
        (x, y, z, structure), integers in units of 1 / `whole`; background has the rest.
    whole
        The integer that stands for probability 1.
    """
    # There are few different probabilities, and most voxels are certain.
    of_structure = entr(np.arange(whole + 1, dtype=posterior.dtype) / np.float32(whole))
    of_rest = entr(np.arange(whole + 1) / np.float32(whole))
    largest = np.log(posterior.shape[-1] + 1)
    entropy = np.zeros_like(posterior[..., 0], dtype=np.uint8)
    for z in range(entropy.shape[2]):  # so that it stays in cache
        # Without a copy for posteriors in Fortran order, as files are.
        maps = posterior[:, :, z].T.reshape(posterior.shape[-1], -1)
        rest = np.full(maps.shape[1], whole, dtype=np.int32)
        uncertain = np.ones(maps.shape[1], dtype=bool)
        for structure in maps:
            rest -= structure
            uncertain &= structure != whole
        # Below 0: bytes of structures are rounded one by one, and may add up to more than 1.
        places = np.flatnonzero((uncertain | (rest < 0)) & (rest < whole))
        found = of_rest[np.maximum(rest[places], 0)]
        for structure in maps:
            found += of_structure[structure[places]]
        entropy[:, :, z].T.flat[places] = np.rint(
            np.minimum(found / largest, 1).astype(np.float32) * POSTERIOR_SCALE
        )
    return entropy
