"""Losses, those of the configuration and those by import path."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from crossfold.config.functions import load_object
from crossfold.config.learning import TrainingConfig
from crossfold.config.losses import CrossEntropy, Focal, ImportedLoss, SoftDice, SquaredDice
from crossfold.errors import CrossfoldError
from crossfold.learning.distributed import processes, summed

# Per voxel, in sums of the squared Dice; and in the factor of the focal loss.
_DICE_EPSILON = 1e-10
_FOCAL_EPSILON = 1e-6

Loss = Callable[[Tensor, Tensor], Tensor]


def make_loss(config: TrainingConfig) -> Loss:
    """Return the loss of a configuration.

    It takes logits (batch, class, x, y, z), class 0 is background, and integer labels
    (batch, x, y, z), and returns a scalar. Of several losses, it is the mean by their shares.

    Raises
    ------
    CrossfoldError
        If a loss cannot be imported or refuses its arguments.
    """
    if not config.loss:
        return functools.partial(dice_cross_entropy, cross_entropy=config.cross_entropy)
    total = sum(section.share for section in config.loss)
    parts = [(section.share / total, _one_loss(section)) for section in config.loss]
    if len(parts) == 1:
        return parts[0][1]

    def mixture(logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([share * loss(logits, labels) for share, loss in parts]).sum()

    return mixture


def _one_loss(section: SoftDice | SquaredDice | CrossEntropy | Focal | ImportedLoss) -> Loss:
    match section:
        case SoftDice(class_weight_power=power):
            return functools.partial(soft_dice, power=power)
        case SquaredDice(class_weight_power=power):
            return functools.partial(squared_dice, power=power)
        case CrossEntropy(class_weight_power=power, label_smoothing=smoothing):
            return functools.partial(cross_entropy, power=power, smoothing=smoothing)
        case Focal(class_weight_power=power, gamma=gamma, rescaled=rescaled):
            return functools.partial(focal, power=power, gamma=gamma, rescaled=rescaled)
    return _imported(section)


def dice_cross_entropy(logits: Tensor, labels: Tensor, cross_entropy: float = 0.5) -> Tensor:
    """Weigh cross-entropy against soft Dice over the structures, sums taken over the batch.

    Parameters
    ----------
    logits
        (batch, class, x, y, z), class 0 is background.
    labels
        Integers (batch, x, y, z).
    cross_entropy
        Weight of cross-entropy; the soft Dice loss has the rest.

    Returns
    -------
    Tensor
        Scalar.
    """
    log_probability = functional.log_softmax(logits.float(), dim=1)
    entropy = functional.nll_loss(log_probability, labels)
    dice = _dice_of_structures(log_probability[:, 1:].exp(), labels)
    return cross_entropy * entropy + (1 - cross_entropy) * (1 - dice.mean())


def soft_dice(logits: Tensor, labels: Tensor, *, power: float = 0.0) -> Tensor:
    """Soft Dice loss of the structures (Milletari et al. 2016, arXiv 1606.04797), linear below.

    The same as `monai.losses.DiceLoss(include_background=False, softmax=True, batch=True)`, without
    its one-hot labels of type float, and with weights that follow from the batch.

    Parameters
    ----------
    logits, labels
        As in `make_loss`.
    power
        Structures of n voxels have the weight n ** -power, scaled to mean 1.
    """
    dice = _dice_of_structures(functional.softmax(logits.float(), dim=1)[:, 1:], labels)
    if power:
        dice = dice * class_weights(labels, logits.shape[1], power, background=False)
    return 1 - dice.mean()


def _dice_of_structures(probability: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice of each structure; sums are taken over the batch.

    Parameters
    ----------
    probability
        (batch, structure, x, y, z).
    labels
        Integers (batch, x, y, z).
    """
    classes = torch.arange(1, probability.shape[1] + 1, device=labels.device)
    truth = (labels[:, None] == classes[:, None, None, None]).to(probability.dtype)
    everywhere = (0, 2, 3, 4)
    overlap = summed((probability * truth).sum(everywhere))
    total = summed(probability.sum(everywhere) + truth.sum(everywhere))
    return (2 * overlap + 1e-5) / (total + 1e-5)


def squared_dice(logits: Tensor, labels: Tensor, *, power: float = 0.0) -> Tensor:
    """SoftDice of InnerEye: squares below, the background too, the mean over crops and classes.

    1 - 2 mean[w Σ(pt + ε) / (Σ(p² + ε) + Σ(t² + ε))], ε = 1e-10 per voxel. It is `DiceLoss` of
    MONAI, with 2 ε for each voxel as its smoothing terms.

    Parameters
    ----------
    logits, labels
        As in `make_loss`.
    power
        Classes of n voxels in the batch have the weight n ** -power, scaled to mean 1.
    """
    # Two seconds, which the default loss does not need.
    from monai.losses.dice import DiceLoss

    smoothing = 2 * _DICE_EPSILON * labels[0].numel()
    weight = class_weights(labels, logits.shape[1], power) if power else None
    dice = DiceLoss(
        to_onehot_y=True,
        softmax=True,
        squared_pred=True,
        smooth_nr=smoothing,
        smooth_dr=smoothing,
        weight=weight,
    )
    return dice(logits.float(), labels[:, None])


def cross_entropy(
    logits: Tensor, labels: Tensor, *, power: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of torch, mean over voxels.

    Two differences: torch divides a weighted loss by the sum of the weights, not by the number of
    voxels; and its label smoothing gives the true class a part of what is taken from it, so that
    ours is torch's with smoothing C / (C - 1) for C classes.

    Parameters
    ----------
    logits, labels
        As in `make_loss`.
    power
        Classes of n voxels in the batch have the weight n ** -power, scaled to mean 1.
    smoothing
        Probability that moves from the true class to all others together, as in InnerEye. (It also
        divides by C where it smooths without class weights; this does not.)
    """
    return _voxel_entropy(logits.float(), labels, power, smoothing).mean()


def _voxel_entropy(logits: Tensor, labels: Tensor, power: float, smoothing: float = 0.0) -> Tensor:
    classes = logits.shape[1]
    return functional.cross_entropy(
        logits,
        labels,
        weight=class_weights(labels, classes, power) if power else None,
        label_smoothing=smoothing * classes / (classes - 1),
        reduction="none",
    )


def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    power: float = 0.0,
    gamma: float = 1.0,
    rescaled: bool = True,
) -> Tensor:
    """Focal loss (Lin et al. 2017, arXiv 1708.02002), as in InnerEye or as in MONAI.

    Parameters
    ----------
    logits, labels
        As in `make_loss`.
    power
        Classes of n voxels in the batch have the weight n ** -power, scaled to mean 1.
    gamma
        Exponent of 1 - p of the true class.
    rescaled
        The factor (1 - p + 1e-6) ** gamma is scaled to mean 1 and has no gradient, which is
        InnerEye's; otherwise this is `FocalLoss` of MONAI, whose mean is over voxels and classes.
    """
    logits = logits.float()
    if not rescaled:
        from monai.losses.focal_loss import FocalLoss  # as above

        weight = class_weights(labels, logits.shape[1], power) if power else None
        return FocalLoss(gamma=gamma, to_onehot_y=True, use_softmax=True, weight=weight)(
            logits, labels[:, None]
        )
    with torch.no_grad():
        probability = functional.softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        factor = (1 - probability + _FOCAL_EPSILON) ** gamma
        factor = factor / (summed(factor.mean()) / processes())
    return (factor * _voxel_entropy(logits, labels, power)).mean()


def class_weights(labels: Tensor, classes: int, power: float, *, background: bool = True) -> Tensor:
    """Return weights proportional to voxels ** -power, with mean 1, as in InnerEye.

    Parameters
    ----------
    labels
        Integers (batch, x, y, z).
    classes
        Number of classes, the background included.
    power
        0: the same weight for all. A class without a voxel counts as if it had one.
    background
        Whether the background has a weight too.
    """
    voxels = summed(torch.stack([(labels == value).sum() for value in range(classes)]))
    weights = voxels[0 if background else 1 :].clamp(min=1).double() ** -power
    return (weights / weights.mean()).float()


def _imported(section: ImportedLoss) -> Loss:
    """Wrap a loss so that it sees labels with a channel, as MONAI's want them."""
    target = load_object(section.target, "training.loss._target_")
    if not inspect.isclass(target):
        loss = functools.partial(target, **section.arguments)
    else:
        try:
            loss = target(**section.arguments)
        except (TypeError, ValueError) as error:
            raise CrossfoldError(
                f"training.loss: {section.target} refuses its arguments: {error}",
                remedy=f"see the signature {inspect.signature(target)}",
            ) from error

    def call(logits: Tensor, labels: Tensor) -> Tensor:
        value = loss(logits.float(), labels[:, None])
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise CrossfoldError(
                f"training.loss: {section.target} returns {_shape(value)}, not a scalar",
                remedy="give it an argument such as reduction: mean",
            )
        return value.reshape(())

    return call


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"something of type {type(value).__name__}"


@torch.no_grad()
def hard_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the Dice of each structure over a batch, (structure,); NaN where absent in both."""
    predicted = logits.argmax(dim=1)
    overlaps, totals = [], []
    for value in range(1, logits.shape[1]):
        prediction, truth = predicted == value, labels == value
        overlaps.append((prediction & truth).sum())
        totals.append(prediction.sum() + truth.sum())
    overlap, total = summed(torch.stack([torch.stack(overlaps), torch.stack(totals)]))
    return 2 * overlap / total
