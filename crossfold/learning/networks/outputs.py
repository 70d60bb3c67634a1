"""What networks return: logits, of one head or several, of the whole input or of its centre."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossfold.errors import CrossfoldError

Triple = tuple[int, int, int]


def margin_of(network: nn.Module) -> Triple:
    """Return by how many voxels per side and axis the output of a network is smaller."""
    x, y, z = getattr(network, "margin", (0, 0, 0))
    return x, y, z


def centre_crop(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Return the centre of labels (batch, x, y, z), as large as a network's output.

    Raises
    ------
    CrossfoldError
        If the output of the network is larger than its input, or lies off its centre.
    """
    have = labels.shape[1:]
    if tuple(have) == tuple(size):
        return labels
    lost = [h - s for h, s in zip(have, size, strict=True)]
    if any(voxels < 0 or voxels % 2 for voxels in lost):
        raise CrossfoldError(
            f"network: it maps {tuple(have)} voxels to {tuple(size)}",
            remedy="use a network that returns logits of the size of its input, or of its centre",
        )
    x, y, z = (slice(voxels // 2, voxels // 2 + s) for voxels, s in zip(lost, size, strict=True))
    return labels[:, x, y, z]


def heads_of(output: Tensor | Sequence[Tensor]) -> list[tuple[float, Tensor]]:
    """Return the weight in the loss and the logits of each head of a network, the final one first.

    Deep supervision: networks of MONAI stack the heads, (batch, head, class, x, y, z), or list
    them. As in nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z), each head has half
    the weight of the one before, and all weights add up to 1.

    Parameters
    ----------
    output
        Whatever a network returned.

    Raises
    ------
    CrossfoldError
        If these are no logits, or heads of several sizes.
    """
    heads: Sequence[Tensor] = [output] if isinstance(output, Tensor) else list(output)
    if len(heads) == 1 and isinstance(heads[0], Tensor) and heads[0].dim() == 6:
        heads = heads[0].unbind(dim=1)
    if not heads or not all(isinstance(head, Tensor) and head.dim() == 5 for head in heads):
        raise CrossfoldError(
            "network: it does not return logits (batch, class, x, y, z)",
            remedy="wrap it in a module that does",
        )
    if len({head.shape for head in heads}) > 1:
        sizes = ", ".join(str(tuple(head.shape[2:])) for head in heads)
        raise CrossfoldError(
            f"network: its heads return several sizes: {sizes}",
            remedy="switch its deep supervision off, or let it resize them, as DynUNet does",
        )
    total = 2 - 2.0 ** (1 - len(heads))
    return [(0.5**number / total, head) for number, head in enumerate(heads)]


class SliceWise(nn.Module):
    """A 2-D network, run over the slices along z as if they were a batch.

    Parameters
    ----------
    network
        Maps (batch, channel, x, y) to (batch, class, x, y).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Map (batch, channel, x, y, z) to what the network returns, with z as its last axis."""
        slices = image.movedim(-1, 1)
        batch = slices.shape[:2]
        flat = slices.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        output = self.network(flat)
        if isinstance(output, Tensor):
            return output.unflatten(0, batch).movedim(1, -1)
        return [head.unflatten(0, batch).movedim(1, -1) for head in output]
