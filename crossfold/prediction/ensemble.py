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
    segmentation = segment(
        found.posterior,
        whole=found.whole,
        labels=labels,
        postprocessing=postprocessing,
        affine=found.like.affine,
    )
    disagreement, uncertainty = (
        np.rint(share * POSTERIOR_SCALE).astype(np.uint8)
        for share in (found.disagreement(), normalised_entropy(found.posterior, found.whole))
    )
    posterior = _as_bytes(found.posterior, found.whole)
    return EnsembleMaps(posterior, segmentation, uncertainty, disagreement)


def _as_bytes(posterior: NDArray[np.unsignedinteger], whole: int) -> NDArray[np.uint8]:
    """Bring integers in units of 1 / `whole` to the unit of files, rounded half up."""
    stored = np.empty_like(posterior, dtype=np.uint8)
    for structure, target in zip(
        np.moveaxis(posterior, -1, 0), np.moveaxis(stored, -1, 0), strict=True
    ):
        target[:] = (structure.astype(np.int32) * POSTERIOR_SCALE + whole // 2) // whole
    return stored


def normalised_entropy(posterior: NDArray[np.unsignedinteger], whole: int) -> NDArray[np.float32]:
    """Return the Shannon entropy of each voxel over its largest possible value, (x, y, z).

    Parameters
    ----------
    posterior
        (x, y, z, structure), integers in units of 1 / `whole`; background has the rest.
    whole
        The integer that stands for probability 1.
    """
    rest = whole - posterior.sum(axis=-1, dtype=np.int32)
    entropy = entr(np.maximum(rest, 0) / np.float32(whole))
    for structure in np.moveaxis(posterior, -1, 0):
        entropy += entr(structure / np.float32(whole))
    return np.minimum(entropy / np.log(posterior.shape[-1] + 1), 1).astype(np.float32)
