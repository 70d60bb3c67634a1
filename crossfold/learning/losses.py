"""Soft Dice and cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dice_cross_entropy(logits: Tensor, labels: Tensor, cross_entropy: float = 0.5) -> Tensor:
    """Weigh cross-entropy against soft Dice over the structures, sums taken over the batch.

    Parameters
    ----------
    logits
        (batch, class, x, y, z), class 0 is background.
    labels
        Integers (batch, x, y, z).
    cross_entropy
        Weight of cross-entropy; the soft Dice loss (Milletari et al. 2016, arXiv 1606.04797, with
        linear denominator) has the rest.

    Returns
    -------
    Tensor
        Scalar.
    """
    log_probability = functional.log_softmax(logits.float(), dim=1)
    entropy = functional.nll_loss(log_probability, labels)
    probability = log_probability[:, 1:].exp()
    classes = torch.arange(1, logits.shape[1], device=labels.device)
    truth = (labels[:, None] == classes[:, None, None, None]).to(probability.dtype)
    everywhere = (0, 2, 3, 4)
    overlap = (probability * truth).sum(everywhere)
    total = probability.sum(everywhere) + truth.sum(everywhere)
    dice = (2 * overlap + 1e-5) / (total + 1e-5)
    return cross_entropy * entropy + (1 - cross_entropy) * (1 - dice.mean())


@torch.no_grad()
def hard_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the Dice of each structure over a batch, (structure,); NaN where absent in both."""
    predicted = logits.argmax(dim=1)
    scores = []
    for value in range(1, logits.shape[1]):
        prediction, truth = predicted == value, labels == value
        total = prediction.sum() + truth.sum()
        scores.append(2 * (prediction & truth).sum() / total)
    return torch.stack(scores)
