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
from crossfold.images import Image, atomic_directory, read_posterior, write_image
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
    mean, like = average_posteriors([subject_file(member, subject) for member in members])
    segmentation = segment(mean, labels=labels, largest_component=largest_component)
    maps: tuple[NDArray, ...] = (mean, segmentation, normalised_entropy(mean))
    for directory, array in zip(targets, maps, strict=True):
        write_image(subject_file(directory, subject), array, like)


def average_posteriors(files: Sequence[Path]) -> tuple[NDArray[np.float32], Image]:
    """Average the posteriors of one subject, holding two of them in memory at a time.

    Returns
    -------
    mean, like
        float32 (x, y, z, structure), and an image of the same grid.
    """
    first = read_posterior(files[0])
    total = first.array.copy()
    for file in files[1:]:
        total += read_posterior(file).array
    total /= len(files)
    return total, first


def normalised_entropy(posterior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Shannon entropy of each voxel over its largest possible value, (x, y, z).

    Parameters
    ----------
    posterior
        (x, y, z, structure), background left out.
    """
    background = np.clip(1 - posterior.sum(axis=-1), 0, 1)
    entropy = entr(posterior).sum(axis=-1) + entr(background)
    return (entropy / np.log(posterior.shape[-1] + 1)).astype(np.float32)
