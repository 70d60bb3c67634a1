from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss
from torch import Tensor
from torch.nn import functional

from crossfold.config.learning import TrainingConfig
from crossfold.errors import CrossfoldError
from crossfold.learning.losses import (
    class_weights,
    cross_entropy,
    dice_cross_entropy,
    focal,
    hard_dice,
    make_loss,
    soft_dice,
    squared_dice,
)


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    return logits, torch.randint(0, 3, (2, 4, 5, 6), generator=generator)


def voxels(probabilities: list[list[float]], labels: list[int]) -> tuple[Tensor, Tensor]:
    """Logits and labels of one crop of a row of voxels, from the probability of each class."""
    logits = torch.tensor(probabilities).log().T.reshape(1, len(probabilities[0]), -1, 1, 1)
    return logits, torch.tensor(labels).reshape(1, -1, 1, 1)


# Three voxels, two of class 0 and one of class 1.
THREE = voxels([[0.8, 0.2], [0.5, 0.5], [0.25, 0.75]], [0, 0, 1])


def of(**training: Any) -> float:
    return make_loss(TrainingConfig(**training))(*THREE).item()


def test_without_a_loss_cross_entropy_is_weighed_against_soft_dice() -> None:
    dice = 1 - 2 * 0.75 / (1.45 + 1)
    entropy = -(math.log(0.8) + math.log(0.5) + math.log(0.75)) / 3
    assert of(cross_entropy=0.2) == pytest.approx(0.2 * entropy + 0.8 * dice, rel=1e-4)
    both = [
        {"method": "cross_entropy", "share": 0.2},
        {"method": "soft_dice", "share": 0.8},
    ]
    assert of(loss=both) == pytest.approx(of(cross_entropy=0.2), rel=1e-6)


def test_soft_dice_by_hand() -> None:
    assert of(loss={"method": "soft_dice"}) == pytest.approx(1 - 1.5 / 2.45, rel=1e-4)


def test_squared_dice_by_hand() -> None:
    background = 2 * (0.8 + 0.5) / (0.8**2 + 0.5**2 + 0.25**2 + 2)
    structure = 2 * 0.75 / (0.2**2 + 0.5**2 + 0.75**2 + 1)
    mean = (background + structure) / 2
    assert of(loss={"method": "squared_dice"}) == pytest.approx(1 - mean, rel=1e-6)
    # Two voxels of background and one of the structure: weights 1/2 : 1, scaled to mean 1.
    weighted = (2 / 3 * background + 4 / 3 * structure) / 2
    loss = {"method": "squared_dice", "class_weight_power": 1}
    assert of(loss=loss) == pytest.approx(1 - weighted, rel=1e-6)


def test_squared_dice_is_the_formula_of_innereye() -> None:
    """The mean over crops and classes, with 1e-10 for every voxel in each sum."""
    logits, labels = example()
    labels[0][labels[0] == 2] = 1  # a class that is in one crop only
    p = functional.softmax(logits.double(), dim=1)
    t = functional.one_hot(labels, 3).movedim(-1, 1)
    sums = (2, 3, 4)
    overlap = (p * t + 1e-10).sum(sums)
    total = (p**2 + 1e-10).sum(sums) + (t**2 + 1e-10).sum(sums)
    counts = t.sum((0, 2, 3, 4)).double()
    for power in (0.0, 0.1, 1.0):
        weights = counts**-power / (counts**-power).mean()
        expected = 1 - 2 * (weights * overlap / total).mean()
        value = squared_dice(logits, labels, power=power)
        torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=0)


def test_soft_dice_agrees_with_monai() -> None:
    logits, labels = example()
    monai = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    expected = monai(logits, labels[:, None])
    torch.testing.assert_close(soft_dice(logits, labels), expected, rtol=1e-6, atol=1e-7)
    value = dice_cross_entropy(logits, labels, cross_entropy=0.0)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)


def test_soft_dice_weighs_small_structures_up() -> None:
    logits, labels = example()
    counts = torch.stack([(labels == value).sum() for value in (1, 2)])
    p = functional.softmax(logits, dim=1)[:, 1:]
    t = torch.stack([labels == 1, labels == 2], dim=1)
    everywhere = (0, 2, 3, 4)
    dice = 2 * (p * t).sum(everywhere) / (p.sum(everywhere) + t.sum(everywhere))
    weights = 1 / counts / (1 / counts).mean()
    expected = 1 - (weights * dice).mean()
    torch.testing.assert_close(soft_dice(logits, labels, power=1), expected, rtol=1e-5, atol=0)


def test_cross_entropy_agrees_with_torch() -> None:
    logits, labels = example()
    expected = functional.cross_entropy(logits, labels)
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    torch.testing.assert_close(dice_cross_entropy(logits, labels, cross_entropy=1.0), expected)
    # InnerEye's smoothing is torch's with C / (C - 1) times the number.
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.3)
    torch.testing.assert_close(cross_entropy(logits, labels, smoothing=0.2), expected)


def test_smoothed_cross_entropy_by_hand() -> None:
    true = -(math.log(0.8) + math.log(0.5) + math.log(0.75)) / 3
    other = -(math.log(0.2) + math.log(0.5) + math.log(0.25)) / 3
    loss = {"method": "cross_entropy", "label_smoothing": 0.1}
    assert of(loss=loss) == pytest.approx(0.9 * true + 0.1 * other, rel=1e-6)


def test_weighted_cross_entropy_is_a_mean_over_voxels() -> None:
    weighted = -(2 / 3 * math.log(0.8) + 2 / 3 * math.log(0.5) + 4 / 3 * math.log(0.75)) / 3
    loss = {"method": "cross_entropy", "class_weight_power": 1}
    assert of(loss=loss) == pytest.approx(weighted, rel=1e-6)


def test_focal_loss_by_hand() -> None:
    entropy = -np.log([0.8, 0.5, 0.75])
    factor = np.array([0.2, 0.5, 0.25]) ** 2
    rescaled = factor / factor.mean()
    loss = {"method": "focal", "gamma": 2}
    assert of(loss=loss) == pytest.approx(np.mean(rescaled * entropy), rel=1e-5)
    # MONAI's mean is over two classes too.
    plain = of(loss={**loss, "rescaled": False})
    assert plain == pytest.approx(np.mean(factor * entropy) / 2, rel=1e-5)


def test_plain_focal_loss_is_that_of_monai() -> None:
    logits, labels = example()
    expected = FocalLoss(gamma=1.5, to_onehot_y=True, use_softmax=True)(logits, labels[:, None])
    torch.testing.assert_close(focal(logits, labels, gamma=1.5, rescaled=False), expected)


def test_the_factor_of_the_focal_loss_has_no_gradient() -> None:
    """With gamma 1 it is that of weighted cross-entropy, with the factor as a constant."""
    logits, labels = example()
    logits.requires_grad_()
    [gradient] = torch.autograd.grad(focal(logits, labels, gamma=1), logits)
    p = functional.softmax(logits.detach(), dim=1)
    true = p.gather(1, labels[:, None])
    factor = (1 - true) / (1 - true).mean() / labels.numel()
    expected = factor * (p - functional.one_hot(labels, 3).movedim(-1, 1))
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-8)


def test_class_weights_by_hand() -> None:
    labels = torch.tensor([0] * 100 + [1] * 25).reshape(1, 5, 5, 5)
    # 100, 25 and, of a class that is absent, 1 voxel: 1/10, 1/5 and 1 for power 1/2.
    weights = class_weights(labels, 3, 0.5)
    torch.testing.assert_close(weights, torch.tensor([0.1, 0.2, 1.0]) / 1.3 * 3)
    torch.testing.assert_close(
        class_weights(labels, 3, 0.5, background=False), torch.tensor([0.2, 1.0]) / 1.2 * 2
    )
    torch.testing.assert_close(class_weights(labels, 3, 0), torch.ones(3))


def test_a_mixture_is_the_mean_by_shares() -> None:
    """0.5 focal (power 0.2) + 0.5 soft Dice (0.1), as head and neck models of InnerEye."""
    first: dict[str, Any] = {"method": "focal", "class_weight_power": 0.2}
    second = {"method": "squared_dice", "class_weight_power": 0.1}
    mixed = of(loss=[{**first, "share": 3}, {**second, "share": 1}])
    assert mixed == pytest.approx(0.75 * of(loss=first) + 0.25 * of(loss=second), rel=1e-6)


def test_a_loss_by_import_path() -> None:
    logits, labels = example()
    section = {"_target_": "monai.losses.TverskyLoss", "softmax": True, "to_onehot_y": True}
    loss = make_loss(TrainingConfig(loss={**section, "alpha": 0.3, "beta": 0.7}))
    monai = TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.3, beta=0.7)
    torch.testing.assert_close(loss(logits, labels), monai(logits, labels[:, None]))


def half_as_bad(logits: Tensor, labels: Tensor, factor: float) -> Tensor:
    return factor * functional.cross_entropy(logits, labels[:, 0])


def test_a_function_by_import_path() -> None:
    path = f"{__name__}.half_as_bad"
    section = {"_target_": path, "factor": 0.5}
    assert of(loss=section) == pytest.approx(0.5 * of(loss={"method": "cross_entropy"}))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"_target_": "monai.losses.NoLoss"}, "cannot import monai.losses.NoLoss"),
        ({"_target_": "monai.losses.DiceLoss", "softmx": True}, "refuses its arguments.*softmx"),
        (
            {
                "_target_": "monai.losses.FocalLoss",
                "reduction": "none",
                "to_onehot_y": True,
            },
            r"returns a tensor of shape \(1, 2, 3, 1, 1\), not a scalar",
        ),
    ],
)
def test_a_loss_that_cannot_be_used_says_why(section: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        of(loss=section)


@pytest.mark.parametrize("method", ["soft_dice", "squared_dice", "cross_entropy", "focal"])
def test_every_loss_falls_when_the_prediction_gets_better(method: str) -> None:
    logits, labels = example()
    loss = make_loss(TrainingConfig(loss={"method": method, "class_weight_power": 0.3}))
    right = functional.one_hot(labels, 3).movedim(-1, 1).float()
    values = [loss(logits + certainty * right, labels).item() for certainty in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True)


def test_hard_dice_counts_voxels_and_is_nan_for_what_is_absent() -> None:
    labels = torch.tensor([0, 1, 1, 0]).reshape(1, 4, 1, 1)
    predicted = torch.tensor([1, 1, 0, 0])
    logits = torch.nn.functional.one_hot(predicted, 3).T.reshape(1, 3, 4, 1, 1).float()
    first, second = hard_dice(logits, labels).tolist()
    assert first == 0.5
    assert math.isnan(second)
