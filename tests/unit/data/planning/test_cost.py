from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from crossfold.data.planning.cost import (
    Network,
    operations_per_step,
    padded,
    prediction_bytes,
    training_bytes,
)
from crossfold.learning.networks import UNet, pad_to_network


@pytest.mark.parametrize(
    ("spacing_mm", "patch", "channels"),
    [
        ((1, 1, 1), (32, 48, 32), (16, 32, 64, 128)),
        ((2, 2, 3.6), (48, 48, 20), (16, 32, 64, 128)),
        ((1, 1, 6), (64, 64, 5), (8, 16, 32)),
        ((1, 1, 1), (96, 96, 1), (8, 16, 32)),
    ],
)
def test_operations_and_weights_are_those_that_torch_counts(
    spacing_mm: tuple[float, ...], patch: tuple[int, ...], channels: tuple[int, ...]
) -> None:
    network = Network.on(spacing_mm, patch, channels, images=2, classes=4)
    module = UNet(2, 4, channels=channels, kernel_sizes=network.kernels, strides=network.strides)
    image = pad_to_network(torch.zeros(1, 2, *patch), network.divisor)
    assert image.shape[2:] == padded(patch, network.divisor)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(image)
    counted = counter.get_total_flops()
    assert operations_per_step(network, patch, 1) / 3 == pytest.approx(counted, rel=0.01)
    weights = sum(parameter.numel() for parameter in module.parameters())
    assert network.weights() == pytest.approx(weights, rel=0.05)


def test_steps_at_half_the_resolution_take_an_eighth_of_the_operations() -> None:
    network = Network.on((1, 1, 1), (64, 64, 64), (16, 32, 64, 128), images=1, classes=2)
    full, half = (operations_per_step(network, (64, 64, 64), 2, share) for share in (0, 1))
    assert half == pytest.approx(full / 8)


# Peak memory of a training step in a process of its own, in MiB, as benchmarks were run; with what
# a whole training takes besides (95 MiB).
@pytest.mark.parametrize(
    ("patch", "channels", "measured_mib"),
    [
        ((32, 48, 32), (16, 32, 64, 128), 515),
        ((64, 64, 48), (16, 32, 64, 128), 679),
        ((64, 64, 48), (16, 32, 64, 128, 256), 770),
        ((96, 96, 64), (16, 32, 64, 128), 1014),
        ((64, 64, 48), (32, 64, 128, 256), 905),
    ],
)
def test_memory_is_what_was_measured(
    patch: tuple[int, ...], channels: tuple[int, ...], measured_mib: float
) -> None:
    network = Network.on((1, 1, 1), patch, channels, images=1, classes=3)
    assert training_bytes(network, patch, 2) / 2**20 == pytest.approx(measured_mib, rel=0.1)


def test_a_larger_image_takes_more_memory() -> None:
    network = Network.on((1, 1, 1), (32, 32, 32), (16, 32, 64), images=1, classes=3)
    assert prediction_bytes(network, (100, 100, 100)) < prediction_bytes(network, (200, 100, 100))
