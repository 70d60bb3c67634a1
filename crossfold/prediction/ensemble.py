"""The ensemble of the folds: posteriors averaged, then one segmentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from tqdm import tqdm

from crossfold.errors import CrossfoldError
from crossfold.images import (
    POSTERIOR_SCALE,
    Image,
    atomic_directory,
    read_posterior,
    write_image,
    write_posterior,
)
from crossfold.paths import subject_file
from crossfold.prediction.postprocessing import segment


def ensemble_folds(
    members: Sequence[Path],
    *,
    subjects: Sequence[str],
    labels: Mapping[str, Sequence[int]],
    largest_component: Iterable[str],
    posteriors: Path,
    segmentations: Path,
    uncertainty: Path,
    workers: int = 1,
) -> None:
    """Average the posteriors of the folds for the test subjects.

    Parameters
    ----------
    members
        Directories of posteriors of the test subjects, one per fold.
    subjects
        Test subjects.
    labels, largest_component
        As in `segment`.
    posteriors, segmentations, uncertainty
        Directories to write, `<subject>.nii.gz`. Uncertainty is the entropy of the averaged
        posterior, background included, divided by its largest possible value.
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
        atomic_directory(posteriors) as mean,
        atomic_directory(segmentations) as label_maps,
        atomic_directory(uncertainty) as entropies,
        ThreadPoolExecutor(workers) as pool,
    ):
        work = partial(
            _ensemble_subject,
            members=members,
            labels=labels,
            largest_component=tuple(largest_component),
            targets=(mean, label_maps, entropies),
        )
        list(tqdm(pool.map(work, subjects), total=len(subjects), desc="ensemble", unit="subject"))


def _ensemble_subject(
    subject: str,
    *,
    members: Sequence[Path],
    labels: Mapping[str, Sequence[int]],
    largest_component: tuple[str, ...],
    targets: tuple[Path, Path, Path],
) -> None:
    total, like = add_posteriors([subject_file(member, subject) for member in members])
    whole = POSTERIOR_SCALE * len(members)
    segmentation = segment(total, whole=whole, labels=labels, largest_component=largest_component)
    posteriors, segmentations, uncertainty = targets
    mean = (total + len(members) // 2) // len(members)
    entropy = np.rint(normalised_entropy(total, whole) * POSTERIOR_SCALE)
    write_posterior(subject_file(posteriors, subject), mean.astype(np.uint8), like)
    write_image(subject_file(segmentations, subject), segmentation, like)
    write_posterior(subject_file(uncertainty, subject), entropy.astype(np.uint8), like)


def add_posteriors(files: Sequence[Path]) -> tuple[NDArray[np.uint16], Image]:
    """Add up the posteriors of one subject, holding one of them in memory at a time.

    Returns
    -------
    total, like
        uint16 (x, y, z, structure), and an image of the same grid.
    """
    like = read_posterior(files[0])
    total = like.array.astype(np.uint16)
    for file in files[1:]:
        total += read_posterior(file).array
    return total, like


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
