from __future__ import annotations

import math

import torch
from monai.losses import DiceLoss

from crossfold.learning.losses import dice_cross_entropy, hard_dice


def example() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    return logits, torch.randint(0, 3, (2, 4, 5, 6), generator=generator)


def test_dice_agrees_with_monai() -> None:
    logits, labels = example()
    monai = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    expected = monai(logits, labels[:, None])
    torch.testing.assert_close(
        dice_cross_entropy(logits, labels, cross_entropy=0.0), expected, atol=1e-4, rtol=1e-4
    )


def test_cross_entropy_agrees_with_torch() -> None:
    logits, labels = example()
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(dice_cross_entropy(logits, labels, cross_entropy=1.0), expected)


def test_hard_dice_counts_voxels_and_is_nan_for_what_is_absent() -> None:
    labels = torch.tensor([0, 1, 1, 0]).reshape(1, 4, 1, 1)
    predicted = torch.tensor([1, 1, 0, 0])
    logits = torch.nn.functional.one_hot(predicted, 3).T.reshape(1, 3, 4, 1, 1).float()
    first, second = hard_dice(logits, labels).tolist()
    assert first == 0.5
    assert math.isnan(second)
