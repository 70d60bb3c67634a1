"""Prediction of the validation and test subjects of one fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import IMAGE, MASK
from crossfold.images import POSTERIOR_SCALE, atomic_directory, write_image, write_posterior
from crossfold.learning.checkpoints import load_checkpoint
from crossfold.learning.devices import prepare_process
from crossfold.paths import subject_file
from crossfold.prediction.member import PredictionSettings, make_predictor, only_in_mask
from crossfold.prediction.postprocessing import segment
from crossfold.prediction.source_grid import to_source_grid


def predict_fold(
    checkpoint: Path,
    *,
    preprocessed: Path,
    dataset: Dataset,
    subjects: Mapping[str, Sequence[str]],
    settings: PredictionSettings,
    posteriors: Path,
    segmentations: Path,
    threads: int = 1,
) -> None:
    """Write posteriors and segmentations of subjects on the grids of their source images.

    Parameters
    ----------
    checkpoint
        Checkpoint of the fold.
    preprocessed
        Directory written by `preprocess_dataset`.
    dataset
        Where the source images are.
    subjects
        Subjects by role; each role has its own folder.
    settings
        Sections of the model.
    posteriors, segmentations
        Directories to write: `<role>/<subject>.nii.gz`. Posteriors are (x, y, z, structure).
    threads
        Threads of the processor to use.
    """
    prepare_process(threads)
    network, card = load_checkpoint(checkpoint)
    predictor = make_predictor(network, card, settings)
    todo = [(role, subject) for role, names in subjects.items() for subject in names]
    with atomic_directory(posteriors) as maps, atomic_directory(segmentations) as labels:
        for role, subject in tqdm(
            todo,
            desc=f"predict fold {checkpoint.parent.parent.name}",
            unit="subject",
            disable=None,  # a log file is no terminal
        ):
            array = np.load(subject_file(preprocessed, subject, IMAGE), mmap_mode="r")
            source = dataset.image(subject, card.images[0])
            mask = subject_file(preprocessed, subject, MASK)
            posterior = only_in_mask(
                predictor(torch.from_numpy(np.array(array))),
                np.load(mask) if mask.is_file() else None,
            )
            on_source = to_source_grid(posterior, source)
            segmentation = segment(
                on_source,
                whole=POSTERIOR_SCALE,
                labels=settings.labels,
                postprocessing=settings.postprocessing,
                affine=source.affine,
            )
            write_posterior(subject_file(maps / role, subject), on_source, source)
            write_image(subject_file(labels / role, subject), segmentation, source)
