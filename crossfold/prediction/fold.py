"""Prediction of the validation and test subjects of one fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from crossfold.config.labels import label_values
from crossfold.config.prediction import InferenceConfig, PostprocessingConfig
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import IMAGE, MASK
from crossfold.images import (
    POSTERIOR_SCALE,
    Image,
    atomic_directory,
    write_image,
    write_posterior,
)
from crossfold.learning.augmentation import mirrored_labels
from crossfold.learning.checkpoints import NetworkCard, load_checkpoint
from crossfold.learning.devices import prepare_process, select_device
from crossfold.paths import subject_file
from crossfold.prediction.postprocessing import segment
from crossfold.prediction.sliding_window import Predictor


@dataclass(frozen=True)
class PredictionSettings:
    """How posteriors and segmentations are made from a network.

    Parameters
    ----------
    inference
        Section of the model.
    postprocessing
        Section of the model, as far as it applies to folds.
    labels
        Label values of structures and derived structures.
    mirror_pairs
        Structures that change names when mirrored along x.
    precision, device
        As in `training`.
    """

    inference: InferenceConfig
    postprocessing: PostprocessingConfig
    labels: Mapping[str, Sequence[int]]
    mirror_pairs: Sequence[tuple[str, str]] = ()
    precision: str = "auto"
    device: str = "auto"

    @classmethod
    def from_params(cls, params: Any, device: str) -> PredictionSettings:
        """Build the settings from the parameters of a rule."""
        model = params.model
        return cls(
            InferenceConfig(**model["inference"]),
            PostprocessingConfig(**params.postprocessing),
            label_values(model["structures"], model["derived_structures"]),
            params.mirror_pairs,
            params.precision,
            device,
        )


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
            posterior = predictor(torch.from_numpy(np.array(array)))
            posterior = only_in_mask(posterior, subject_file(preprocessed, subject, MASK))
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


def only_in_mask(posterior: torch.Tensor, mask: Path) -> torch.Tensor:
    """Return a posterior (class, x, y, z) that is background outside of a model's mask, if any."""
    if not mask.is_file():
        return posterior
    inside = torch.from_numpy(np.load(mask)).to(posterior)
    posterior = posterior * inside
    posterior[0] += 1 - inside
    return posterior


def make_predictor(
    network: torch.nn.Module, card: NetworkCard, settings: PredictionSettings
) -> Predictor:
    """Put a network on its device, behind a sliding window."""
    inference = settings.inference
    windows = {"image": None, "patch": card.patch_size}
    window = windows[inference.window] if isinstance(inference.window, str) else inference.window
    return Predictor(
        network.to(select_device(settings.device)),
        divisor=card.divisor,
        window=window,
        overlap=inference.overlap,
        batch_size=inference.batch_size,
        mirror_axes=["xyz".index(axis) for axis in inference.mirror_axes],
        renamed=mirrored_labels(settings.mirror_pairs, card.structures),
        precision=settings.precision,
    )


def to_source_grid(posterior: torch.Tensor, source: Image) -> NDArray[np.uint8]:
    """Bring posteriors of the training grid to the grid of the source image.

    Parameters
    ----------
    posterior
        (class, x, y, z), RAS.
    source
        Image whose grid is wanted.

    Returns
    -------
    numpy.ndarray
        uint8 (x, y, z, structure) in units of 1 / `POSTERIOR_SCALE`; background is left out.
    """
    shape = source.to_ras().array.shape
    structures = []
    # One structure at a time: in float32, all of them on a large grid would not fit into memory.
    for structure in posterior[1:]:
        on_grid = functional.interpolate(
            structure[None, None], shape, mode="trilinear", align_corners=False
        )
        scaled = on_grid[0, 0].mul_(POSTERIOR_SCALE).round_().to(torch.uint8)
        structures.append(source.from_ras(scaled.numpy()))
    return np.stack(structures, axis=-1)
