"""Whether the network of a trial can be built, and takes the crops that it is to be trained on."""

from __future__ import annotations

import torch
from torch.nn import functional

from crossfold.config.models import ModelConfig
from crossfold.data.preprocessing import Plan
from crossfold.errors import CrossfoldError
from crossfold.learning.cards import make_card
from crossfold.learning.checkpoints import NetworkCard
from crossfold.learning.networks import first_stride, pad_to_network
from crossfold.prediction.conditions import is_out_of_memory


def network_problem(plan: Plan, drawn: ModelConfig) -> str:
    """Say why the network of a trial cannot be trained; empty where it can.

    Parameters
    ----------
    plan
        Of the preprocessed dataset.
    drawn
        The model of the trial.
    """
    try:
        card = make_card(
            plan,
            images=drawn.images,
            structures=drawn.structures,
            network=drawn.network,
            config=drawn.training,
        )
        card.build()
    except CrossfoldError as error:
        return error.message
    try:
        _take_crops(card, drawn, "meta")
    except Exception:  # also of a network that needs numbers to compute with
        try:
            _take_crops(card, drawn, "cpu")
        except (ValueError, RuntimeError) as error:
            if is_out_of_memory(error):
                return ""
            size = [*card.patch_size]
            return f"network: {card.target} takes no crops of {size} voxels: {error}".splitlines()[
                0
            ]
    return ""


@torch.no_grad()
def _take_crops(card: NetworkCard, drawn: ModelConfig, device: str) -> None:
    """Apply the network to crops as in training; on the device `meta` without computing."""
    with torch.device(device):
        network = card.build().train()
        shape = (drawn.training.batch_size, len(card.images), *card.patch_size)
        crops = pad_to_network(torch.zeros(shape), card.divisor)
        network(crops)
        if drawn.training.half_resolution:
            coarse = functional.avg_pool3d(crops, first_stride(card.target, card.arguments))
            network(pad_to_network(coarse, card.divisor))
