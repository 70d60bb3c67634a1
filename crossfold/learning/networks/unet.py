"""The default 3-D U-Net."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossfold.errors import CrossfoldError


class UNet(nn.Module):
    """A plain 3-D U-Net: strided convolutions down, transposed convolutions up.

    After Çiçek et al. 2016 (arXiv 1606.06650), with the anisotropic kernels and strides of nnU-Net
    (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z). One convolution at full resolution, where
    it is dearest, and two elsewhere; batch normalisation, whose layout stays channels-last.

    Parameters
    ----------
    in_channels, out_channels
        Image channels; structures and background.
    channels
        Features of each level.
    kernel_sizes
        Kernel of each level.
    strides
        Stride between each level and the next.
    convolutions
        Convolutions per level below the first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = (16, 32, 64, 128),
        kernel_sizes: Sequence[Sequence[int]] | None = None,
        strides: Sequence[Sequence[int]] | None = None,
        convolutions: int = 2,
    ) -> None:
        super().__init__()
        levels = len(channels)
        kernels = [tuple(k) for k in kernel_sizes or [(3, 3, 3)] * levels]
        steps = [(x, y, z) for x, y, z in strides or [(2, 2, 2)] * (levels - 1)]
        if len(kernels) != levels or len(steps) != levels - 1:
            raise CrossfoldError(
                f"network: {levels} `channels` with {len(kernels)} `kernel_sizes` and "
                f"{len(steps)} `strides`",
                remedy=f"give {levels} kernel sizes and {levels - 1} strides",
            )
        self.encoder = nn.ModuleList()
        self.upsample = nn.ModuleList()
        self.decoder = nn.ModuleList()
        features = in_channels
        for level, width in enumerate(channels):
            stride = steps[level - 1] if level else (1, 1, 1)
            count = convolutions if level else 1
            self.encoder.append(_stage(features, width, kernels[level], stride, count))
            features = width
        for level in reversed(range(levels - 1)):
            width, count = channels[level], convolutions if level else 1
            self.upsample.append(
                nn.ConvTranspose3d(channels[level + 1], width, steps[level], steps[level])
            )
            self.decoder.append(_stage(2 * width, width, kernels[level], (1, 1, 1), count))
        self.head = nn.Conv3d(channels[0], out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channel, x, y, z) to logits (batch, class, x, y, z)."""
        skipped = []
        for stage in self.encoder:
            image = stage(image)
            skipped.append(image)
        skipped.pop()
        for upsample, stage in zip(self.upsample, self.decoder, strict=True):
            image = stage(torch.cat([upsample(image), skipped.pop()], dim=1))
        return self.head(image)


def _stage(
    features: int, width: int, kernel: tuple[int, ...], stride: tuple[int, ...], count: int
) -> nn.Sequential:
    """Stack convolution, batch normalisation and leaky ReLU `count` times."""
    layers: list[nn.Module] = []
    for position in range(count):
        step = stride if position == 0 else 1
        padding = tuple(size // 2 for size in kernel)
        layers += [
            nn.Conv3d(features, width, kernel, step, padding, bias=False),  # type: ignore[arg-type]
            nn.BatchNorm3d(width),
            nn.LeakyReLU(0.01, inplace=True),
        ]
        features = width
    return nn.Sequential(*layers)
