"""The networks of InnerEye-DeepLearning (Microsoft Research, 2020), in axes (x, y, z).

InnerEye's arrays are (z, y, x): what it calls kernel (1, 3, 3) is (3, 3, 1) here. Weights of its
checkpoints fit after turning their axes, which `crossfold.learning.innereye` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from crossfold.errors import CrossfoldError

Triple = tuple[int, int, int]

LEVELS = 4
# Feature channels of DeepMedic (Kamnitsas et al. 2017, doi 10.1016/j.media.2016.10.004).
DEEPMEDIC_CHANNELS = (30, 30, 40, 40, 40, 40, 50, 50)


class _ResidualUNet(nn.Module):
    """A U-Net that adds what others concatenate: four strided levels, residual blocks.

    Unlike the U-Net of MONAI, the way up sums two convolutions, one of the upsampled features and
    one of the skipped ones, before one normalisation; transposed convolutions are twice as wide as
    their stride, with normalisation and activation of their own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int,
        kernel: Triple,
        stride: Triple,
        dilation: Triple,
        flip_axes: Sequence[Literal["x", "y", "z"]],
    ) -> None:
        super().__init__()
        self.flipped = [2 + "xyz".index(axis) for axis in flip_axes]
        self.encoder = nn.ModuleList([_Encode(in_channels, channels, kernel)])
        self.decoder = nn.ModuleList()
        for level in range(LEVELS):
            fine, coarse = channels * 2**level, channels * 2 ** (level + 1)
            self.encoder.append(_Encode(fine, coarse, kernel, stride, dilation))
            self.decoder.insert(0, _Decode(coarse, fine, kernel, stride))
        self.head = nn.Conv3d(channels, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channel, x, y, z) to logits (batch, class, x, y, z)."""
        image = image.flip(self.flipped) if self.flipped else image
        skipped = []
        for stage in self.encoder:
            image = stage(image)
            skipped.append(image)
        skipped.pop()
        for stage in self.decoder:
            image = stage(image, skipped.pop())
        logits = self.head(image)
        return logits.flip(self.flipped) if self.flipped else logits


class UNet3D(_ResidualUNet):
    """InnerEye's UNet3D: its Prostate and head-and-neck models have 32 channels.

    Parameters
    ----------
    in_channels, out_channels
        Image channels; structures and background.
    channels
        Features of the first level; each further level has twice as many.
    kernel_size
        Odd kernel of all convolutions but the last.
    flip_axes
        Axes that run the other way in the images that imported weights were trained on. InnerEye
        did not reorient: images from DICOM run to the left and to the back, `[x, y]`.
    """

    divisor = (16, 16, 16)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 32,
        kernel_size: int = 3,
        flip_axes: Sequence[Literal["x", "y", "z"]] = (),
    ) -> None:
        _refuse_even(kernel_size)
        super().__init__(
            in_channels,
            out_channels,
            channels=channels,
            kernel=(kernel_size, kernel_size, kernel_size),
            stride=(2, 2, 2),
            dilation=(1, 1, 1),
            flip_axes=flip_axes,
        )


class UNet2D(_ResidualUNet):
    """InnerEye's UNet2D: every slice along z for itself, with dilated convolutions.

    Parameters
    ----------
    in_channels, out_channels, channels, flip_axes
        As of `UNet3D`.
    """

    divisor = (16, 16, 1)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: int = 32,
        flip_axes: Sequence[Literal["x", "y", "z"]] = (),
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            channels=channels,
            kernel=(3, 3, 1),
            stride=(2, 2, 1),
            dilation=(2, 2, 1),
            flip_axes=flip_axes,
        )


class Basic(nn.Module):
    """InnerEye's default network, after DeepMedic: no padding, no coarser grid.

    Two convolutions and three residual blocks of two dilated ones. The output is smaller than the
    input by `margin` voxels on every side: 14 with kernel 3.

    Parameters
    ----------
    in_channels, out_channels
        Image channels; structures and background.
    channels
        Features of the eight convolutions.
    kernel_size
        Odd kernel of all convolutions but the last.
    """

    divisor = (1, 1, 1)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int] = DEEPMEDIC_CHANNELS,
        kernel_size: int = 3,
    ) -> None:
        super().__init__()
        _refuse_even(kernel_size)
        if len(channels) != len(DEEPMEDIC_CHANNELS):
            raise CrossfoldError(
                f"network.channels: {len(channels)} numbers for the eight convolutions of Basic",
                remedy=f"give eight, such as {list(DEEPMEDIC_CHANNELS)}",
            )
        # Two convolutions, and six that skip every other voxel.
        margin = (kernel_size - 1) // 2 * (2 + 2 * 6)
        self.margin = (margin, margin, margin)
        self.start = nn.Sequential(
            _unpadded(in_channels, channels[0], kernel_size),
            _unpadded(channels[0], channels[1], kernel_size),
        )
        self.residual = nn.Sequential(
            *(_Residual(channels[first : first + 3], kernel_size) for first in (1, 3, 5))
        )
        self.head = nn.Conv3d(channels[-1], out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.normal_(module.weight, std=0.01)

    def forward(self, image: Tensor) -> Tensor:
        """Map (batch, channel, x, y, z) to logits of the voxels that see no border."""
        if any(size <= 2 * self.margin[0] for size in image.shape[2:]):
            raise CrossfoldError(
                f"network: Basic needs more than {2 * self.margin[0]} voxels along every axis, "
                f"and got {tuple(image.shape[2:])}",
                remedy="raise training.patch_size, or refine preprocessing.spacing_mm",
            )
        return self.head(self.residual(self.start(image)))


class _Encode(nn.Module):
    """Two convolutions; the second one adds to what the first one, strided, has made."""

    def __init__(
        self,
        features: int,
        width: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        dilation: Triple = (1, 1, 1),
    ) -> None:
        super().__init__()
        self.first = _padded(features, width, kernel, stride=stride)
        self.second = _padded(width, width, kernel, dilation=dilation)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        image = self.first(image)
        return self.second(image) + image


class _Decode(nn.Module):
    """Upsampling, the sum with what was skipped, and a residual convolution."""

    def __init__(self, features: int, width: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        wide = [2 * step if step > 1 else 1 for step in stride]
        padding = [(size - 1) // 2 for size in wide]
        self.from_below = _convolution(width, width, kernel)
        self.from_skipped = _convolution(width, width, kernel)
        self.normalise = nn.Sequential(nn.BatchNorm3d(width), nn.ReLU(inplace=True))
        self.second = _padded(width, width, kernel)
        _initialise(self)
        # Left as torch initialises it, as InnerEye does.
        self.upsample = nn.Sequential(
            nn.ConvTranspose3d(features, width, wide, stride, padding),  # type: ignore[arg-type]
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, image: Tensor, skipped: Tensor) -> Tensor:
        image = self.from_below(self.upsample(image)) + self.from_skipped(skipped)
        image = self.normalise(image)
        return self.second(image) + image


class _Residual(nn.Module):
    """Two dilated convolutions without padding, added to the centre of their input."""

    def __init__(self, channels: Sequence[int], kernel_size: int) -> None:
        super().__init__()
        features, middle, width = channels
        self.first = _unpadded(features, middle, kernel_size, dilation=2)
        self.second = _unpadded(middle, width, kernel_size, dilation=2, activation=False)
        self.shortcut = (
            nn.Identity() if features == width else _unpadded(features, width, 1, activation=False)
        )
        self.lost = 2 * (kernel_size - 1)

    def forward(self, image: Tensor) -> Tensor:
        centre = slice(self.lost, -self.lost or None)
        shortcut = self.shortcut(image[:, :, centre, centre, centre])
        return torch.relu(self.second(self.first(image)) + shortcut)


def _convolution(
    features: int,
    width: int,
    kernel: Triple,
    *,
    stride: Triple = (1, 1, 1),
    dilation: Triple = (1, 1, 1),
) -> nn.Conv3d:
    padding = tuple(step * (size - 1) // 2 for size, step in zip(kernel, dilation, strict=True))
    return nn.Conv3d(features, width, kernel, stride, padding, dilation, bias=False)  # type: ignore[arg-type]


def _padded(features: int, width: int, kernel: Triple, **options: Triple) -> nn.Sequential:
    """Stack convolution, batch normalisation and ReLU."""
    convolution = _convolution(features, width, kernel, **options)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True))


def _unpadded(
    features: int, width: int, kernel_size: int, *, dilation: int = 1, activation: bool = True
) -> nn.Sequential:
    """Stack a convolution with bias, batch normalisation and, if wanted, ReLU."""
    convolution = nn.Conv3d(features, width, kernel_size, dilation=dilation)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    layers: list[nn.Module] = [convolution, nn.BatchNorm3d(width)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if activation else nn.Sequential(*layers)


def _initialise(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.weight, mean=1.0, std=0.01)


def _refuse_even(kernel_size: int) -> None:
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise CrossfoldError(
            f"network.kernel_size: {kernel_size} is not odd", remedy="write 3 or 5"
        )
