"""What a network is to be, before it is built."""

from __future__ import annotations

from collections.abc import Sequence

from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import Plan
from crossfold.learning.checkpoints import NetworkCard
from crossfold.learning.networks import network_arguments


def make_card(
    plan: Plan,
    *,
    images: Sequence[str],
    structures: Sequence[str],
    network: NetworkConfig,
    config: TrainingConfig,
) -> NetworkCard:
    """Settle what the configuration leaves to the data: patch, kernels, strides."""
    auto = config.patch_size == "auto"
    patch = plan.auto_patch() if auto else config.patch_size
    arguments = network_arguments(
        network,
        images=len(images),
        structures=len(structures),
        spacing_mm=plan.spacing_mm,
        patch_size=patch,  # type: ignore[arg-type]
    )
    return NetworkCard(
        network.target, arguments, [*images], [*structures], [*plan.spacing_mm], [*patch]
    )
