from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from crossfold.learning.networks import Basic, Triple
from crossfold.prediction.sliding_window import (
    Predictor,
    UndefinedPosteriorError,
    gaussian_weight,
    window_starts,
)


class SideOfX(nn.Module):
    """Logits for (background, left, right): what is bright is left where x is low."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.linspace(-1, 1, image.shape[2])[None, None, :, None, None]
        return self.scale * torch.cat([0.5 - image, image - 0.1 - x, image - 0.1 + x], dim=1)


def pointwise(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv3d(1, classes, 1)


def predictor(network: nn.Module, **options: object) -> Predictor:
    settings: dict[str, object] = {
        "divisor": (4, 4, 4),
        "window": (8, 8, 8),
        "overlap": 0.5,
        "batch_size": 3,
        "precision": "fp32",
    }
    return Predictor(network.eval(), **(settings | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("length", range(1, 60))
@pytest.mark.parametrize(("window", "overlap"), [(8, 0.5), (8, 0.0), (7, 0.9), (60, 0.5)])
def test_windows_cover_every_voxel_and_stay_inside(
    length: int, window: int, overlap: float
) -> None:
    starts = window_starts(length, window, overlap)
    covered = {voxel for start in starts for voxel in range(start, start + window)}
    assert set(range(length)) <= covered
    assert starts[0] == 0
    assert starts[-1] + window == max(length, window)
    steps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(0 < step <= max(1, window * (1 - overlap)) for step in steps)


def test_a_network_without_numbers_is_no_background() -> None:
    network = torch.nn.Conv3d(1, 3, 1)
    torch.nn.init.constant_(network.weight, float("nan"))
    predictor = Predictor(
        network, divisor=(1, 1, 1), window=None, overlap=0.5, batch_size=1, precision="fp32"
    )
    with pytest.raises(UndefinedPosteriorError, match="no numbers"):
        predictor(torch.ones(1, 8, 8, 8))


def test_weights_are_positive_and_largest_in_the_middle() -> None:
    weight = gaussian_weight((5, 7, 9))
    assert weight.min() > 0
    assert weight.argmax() == torch.tensor(weight.numel() // 2)


@pytest.mark.parametrize("shape", [(8, 8, 8), (21, 13, 9), (3, 30, 5), (1, 1, 1)])
@pytest.mark.parametrize("window", [None, (8, 8, 8), (64, 4, 8)])
def test_a_network_that_sees_one_voxel_predicts_the_same_in_any_window(
    shape: Triple, window: Triple | None
) -> None:
    network = pointwise()
    image = torch.randn(1, *shape)
    expected = network(image[None]).softmax(1)[0]
    posterior = predictor(network, window=window)(image)
    torch.testing.assert_close(posterior, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(posterior.sum(0), torch.ones(shape))


def test_mirrored_copies_are_averaged_over_all_combinations() -> None:
    plain = predictor(pointwise(), window=None)
    mirrored = predictor(pointwise(), window=None, mirror_axes=(0, 2))
    image = torch.randn(1, 8, 8, 8)
    assert mirrored.flips == [(), (0,), (2,), (0, 2)]
    torch.testing.assert_close(plain(image), mirrored(image))


def test_left_and_right_change_names_in_a_mirror() -> None:
    image = torch.zeros(1, 8, 8, 8)
    image[:, 1:3, 2:6, 2:6] = 1
    image[:, 5:7, 2:6, 2:6] = 1
    swapped = torch.tensor([0, 2, 1])
    plain = predictor(SideOfX(), window=None)(image).argmax(0)
    assert set(plain[:4].unique().tolist()) == {0, 1}
    renamed = predictor(SideOfX(), window=None, mirror_axes=(0,), renamed=swapped)(image)
    assert torch.equal(renamed.argmax(0), plain)
    confused = predictor(SideOfX(), window=None, mirror_axes=(0,))(image)
    assert (confused[1] - confused[2]).abs().max() < 1e-4


def test_a_network_with_a_margin_sees_around_each_window() -> None:
    """Windows give what the whole image gives, and the border of the image is repeated."""
    torch.manual_seed(0)
    network = Basic(1, 2, channels=[2] * 8).eval()
    image = torch.randn(1, 9, 7, 5)
    options = {"divisor": (1, 1, 1), "batch_size": 4}
    with torch.inference_mode():
        repeated = nn.functional.pad(image[None], [14] * 6, mode="replicate")
        expected = network(repeated).softmax(dim=1)[0]
    for window in [None, (4, 4, 4), (20, 3, 1)]:
        posterior = predictor(network, window=window, **options)(image)
        torch.testing.assert_close(posterior, expected)
