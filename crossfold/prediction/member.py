"""One member of an ensemble: its network behind a sliding window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossfold.config.labels import label_values
from crossfold.config.planning import ModelPlan
from crossfold.config.prediction import InferenceConfig, PostprocessingConfig
from crossfold.learning.augmentation.geometry import mirrored_labels
from crossfold.learning.checkpoints import NetworkCard
from crossfold.learning.devices import select_device
from crossfold.prediction.memory import InFile
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
    def from_params(cls, params: Any, device: str, plan: ModelPlan) -> PredictionSettings:
        """Build the settings from the parameters of a rule and the plan of the model."""
        model = params.model
        pairs = {"mirror_pairs": params.mirror_pairs} if params.mirror_pairs else {}
        return cls(
            InferenceConfig(**plan.fill("inference", model["inference"])),
            PostprocessingConfig(**plan.fill("postprocessing", params.postprocessing)),
            label_values(model["structures"], model["derived_structures"]),
            plan.fill("training.augmentation", pairs).get("mirror_pairs", ()),
            params.precision,
            device,
        )


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


def only_in_mask(
    posterior: torch.Tensor | InFile, mask: NDArray[np.bool_] | None
) -> torch.Tensor | InFile:
    """Return a posterior (class, x, y, z) that is background outside of a model's mask, if any."""
    if mask is None:
        return posterior
    if isinstance(posterior, InFile):
        return posterior.within(mask)
    inside = torch.from_numpy(mask).to(posterior)
    posterior = posterior * inside
    posterior[0] += 1 - inside
    return posterior
