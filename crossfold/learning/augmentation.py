"""Random changes to crops, as batched tensor code on the training device.

Drawing and applying are apart: `draw_augmentation` makes the numbers from a seeded generator,
`Augmenter` applies them, so that a batch can be replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from crossfold.config.learning import AugmentationConfig

# Control points per axis of the elastic deformation and of the bias field.
ELASTIC_POINTS, BIAS_POINTS = 5, 3
ELASTIC_PROBABILITY = GAMMA_PROBABILITY = BIAS_PROBABILITY = MIRROR_PROBABILITY = 0.5
NOISE_PROBABILITY = 0.3
# Margin around a crop, as a share of its size, from which rotated and enlarged crops are filled.
MARGIN = 0.15


@dataclass(frozen=True)
class Augmentation:
    """The numbers drawn for one batch; arrays have one entry per crop.

    Parameters
    ----------
    mirror
        bool (crop, axis).
    affine
        bool (crop): crops that are deformed.
    matrix
        (crop, 3, 3) in mm, from the new crop to the old.
    elastic_mm
        (crop, 2, points, points): in-plane displacement of control points, 0 where there is none.
    gain, offset, gamma, noise
        (crop): factor, shift, exponent (1: none) and standard deviation (0: none).
    bias
        (crop, points, points): additive in-plane field, 0 where there is none.
    """

    mirror: NDArray[np.bool_]
    affine: NDArray[np.bool_]
    matrix: NDArray[np.float32]
    elastic_mm: NDArray[np.float32]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    gamma: NDArray[np.float32]
    noise: NDArray[np.float32]
    bias: NDArray[np.float32]


def draw_augmentation(
    config: AugmentationConfig, random: np.random.Generator, count: int
) -> Augmentation:
    """Draw the changes for `count` crops."""

    def sometimes(probability: float, *trailing: int) -> NDArray[np.bool_]:
        chosen = random.random(count) < probability
        return chosen.reshape(count, *(1 for _ in trailing))

    axes = np.array([axis in config.mirror_axes for axis in "xyz"])
    mirror = (random.random((count, 3)) < MIRROR_PROBABILITY) & axes
    elastic = random.normal(0, 1, (count, 2, ELASTIC_POINTS, ELASTIC_POINTS)) * config.elastic_mm
    bias = random.normal(0, 1, (count, BIAS_POINTS, BIAS_POINTS)) * config.bias_field
    gamma = np.exp(random.normal(0, 1, count) * config.gamma)
    noise = random.uniform(0, 1, count) * config.noise
    return Augmentation(
        mirror=mirror,
        affine=sometimes(config.affine_probability),
        matrix=_draw_matrices(config, random, count),
        elastic_mm=np.where(sometimes(ELASTIC_PROBABILITY, 2, 1, 1), elastic, 0).astype(np.float32),
        gain=random.uniform(1 - config.gain, 1 + config.gain, count).astype(np.float32),
        offset=random.uniform(-config.offset, config.offset, count).astype(np.float32),
        gamma=np.where(sometimes(GAMMA_PROBABILITY), gamma, 1).astype(np.float32),
        noise=np.where(sometimes(NOISE_PROBABILITY), noise, 0).astype(np.float32),
        bias=np.where(sometimes(BIAS_PROBABILITY, 1, 1), bias, 0).astype(np.float32),
    )


def _draw_matrices(
    config: AugmentationConfig, random: np.random.Generator, count: int
) -> NDArray[np.float32]:
    """Draw rotations and scales, (crop, 3, 3), from the new crop to the old, in mm."""
    vectors = np.deg2rad(random.normal(0, 1, (count, 3)) * np.array(config.rotation_deg))
    rotation = Rotation.from_rotvec(vectors).as_matrix()
    scale = np.exp(random.normal(0, 1, count) * config.scaling)
    aspect = np.exp(random.normal(0, 1, count) * config.aspect)
    depth = np.ones(count) if stays_in_plane(config) else scale
    diagonal = np.stack([scale * aspect, scale / aspect, depth], axis=1)
    return (rotation / diagonal[:, None, :]).astype(np.float32)


def stays_in_plane(config: AugmentationConfig) -> bool:
    """Say whether no crop is rotated about x or y: then slices are kept, z is not scaled."""
    return config.rotation_deg[0] == 0 and config.rotation_deg[1] == 0


def margin_of(config: AugmentationConfig, patch_size: Sequence[int]) -> list[int]:
    """Return the voxels along x, y, z that a crop needs around it to be rotated."""
    if config.affine_probability == 0:
        return [0, 0, 0]
    margin = [round(MARGIN * size) for size in patch_size]
    return [*margin[:2], 0] if stays_in_plane(config) else margin


class Augmenter:
    """Applies drawn changes to crops.

    Parameters
    ----------
    config
        Section `training.augmentation`.
    patch_size
        Crop in voxels without its margin.
    spacing_mm
        Voxel size of the training grid.
    structures
        Names of the structures, for `mirror_pairs`.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        *,
        patch_size: Sequence[int],
        spacing_mm: Sequence[float],
        structures: Sequence[str],
    ) -> None:
        self.in_plane = stays_in_plane(config)
        self.margin = margin_of(config, patch_size)
        self.patch_size = tuple(patch_size)
        self.spacing_mm = torch.tensor(spacing_mm, dtype=torch.float32)
        self.classes = len(structures) + 1
        self.renamed = mirrored_labels(config.mirror_pairs, structures)

    def __call__(
        self, images: Tensor, labels: Tensor, drawn: Augmentation, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return augmented crops without their margin.

        Parameters
        ----------
        images
            (crop, channel, x, y, z) with margin.
        labels
            (crop, x, y, z) with margin.
        drawn
            Numbers for this batch.
        generator
            Source of white noise, on the device of the crops.

        Returns
        -------
        images, labels
            (crop, channel, x, y, z) and (crop, x, y, z).
        """
        x, y, z = (slice(m, m + size) for m, size in zip(self.margin, self.patch_size, strict=True))
        new_images, new_labels = images[..., x, y, z], labels[..., x, y, z]
        chosen = np.flatnonzero(drawn.affine)
        if chosen.size:
            new_images, new_labels = new_images.clone(), new_labels.clone()
            new_images[chosen], new_labels[chosen] = self._deform(
                images[chosen], labels[chosen], drawn.matrix[chosen], drawn.elastic_mm[chosen]
            )
        if drawn.mirror.any():
            new_images, new_labels = self._mirror(new_images, new_labels, drawn.mirror)
        return change_intensities(new_images, drawn, generator), new_labels

    def _deform(
        self,
        images: Tensor,
        labels: Tensor,
        matrix: NDArray[np.float32],
        elastic_mm: NDArray[np.float32],
    ) -> tuple[Tensor, Tensor]:
        """Rotate, scale and bend crops; structures are interpolated, the strongest wins."""
        grid = self._grid(images, torch.from_numpy(matrix), torch.from_numpy(elastic_mm))
        values = torch.arange(1, self.classes, device=labels.device)[:, None, None, None]
        truth = labels[:, None] == values
        volume = torch.cat([images, truth.to(images.dtype)], dim=1)
        _, channels, *_, depth = volume.shape
        if self.in_plane:
            slices = volume.movedim(-1, 2).flatten(1, 2)
            moved = functional.grid_sample(slices, grid, align_corners=False)
            moved = moved.unflatten(1, (channels, depth)).movedim(2, -1)
        else:
            moved = functional.grid_sample(volume, grid, align_corners=False)
        return moved[:, : images.shape[1]], _strongest(moved[:, images.shape[1] :])

    def _grid(self, images: Tensor, matrix: Tensor, elastic_mm: Tensor) -> Tensor:
        """Return where to read, as torch.nn.functional.grid_sample wants it (last axis first)."""
        device, axes = images.device, 2 if self.in_plane else 3
        spacing, size = self.spacing_mm[:axes], self.patch_size[:axes]
        points = [
            (torch.arange(length) - (length - 1) / 2) * step
            for length, step in zip(size, spacing, strict=True)
        ]
        mesh = torch.stack(torch.meshgrid(*points, indexing="ij"), dim=-1).to(device)
        moved = torch.einsum("bij,...j->b...i", matrix[:, :axes, :axes].to(device), mesh)
        if elastic_mm.any():
            bend = functional.interpolate(
                elastic_mm.to(device), self.patch_size[:2], mode="bicubic", align_corners=True
            ).movedim(1, -1)
            moved[..., :2] += bend if self.in_plane else bend[:, :, :, None]
        extent = torch.tensor(images.shape[2 : 2 + axes]) * spacing / 2
        return (moved / extent.to(device)).flip(-1)

    def _mirror(
        self, images: Tensor, labels: Tensor, mirror: NDArray[np.bool_]
    ) -> tuple[Tensor, Tensor]:
        images, labels = images.clone(), labels.clone()
        for crop, axes in enumerate(mirror):
            along = [axis for axis in range(3) if axes[axis]]
            images[crop] = images[crop].flip([1 + axis for axis in along])
            labels[crop] = labels[crop].flip(along)
            if axes[0]:
                labels[crop] = self.renamed.to(labels.device)[labels[crop]]
        return images, labels


def _strongest(occupancy: Tensor) -> Tensor:
    """Return the class with the largest occupancy, background having what is missing to 1.

    One comparison per structure: torch's argmax over a strided axis takes ten times as long.
    """
    strongest = 1 - occupancy.sum(dim=1)
    labels = torch.zeros(strongest.shape, dtype=torch.int64, device=occupancy.device)
    for value, structure in enumerate(occupancy.unbind(dim=1), start=1):
        labels.masked_fill_(structure > strongest, value)
        strongest = torch.maximum(strongest, structure)
    return labels


def mirrored_labels(pairs: Sequence[tuple[str, str]], structures: Sequence[str]) -> Tensor:
    """Return the label that each label becomes when left and right change places, (class,)."""
    renamed = torch.arange(len(structures) + 1)
    for one, other in pairs:
        i, j = structures.index(one) + 1, structures.index(other) + 1
        renamed[i], renamed[j] = j, i
    return renamed


def change_intensities(images: Tensor, drawn: Augmentation, generator: torch.Generator) -> Tensor:
    """Apply bias field, gamma, gain, offset and noise to crops (crop, channel, x, y, z)."""

    def per_crop(values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(images.device)[:, None, None, None, None]

    if drawn.bias.any():
        field = torch.from_numpy(drawn.bias).to(images.device)[:, None]
        field = functional.interpolate(field, images.shape[2:4], mode="bicubic", align_corners=True)
        images = images + field[..., None]
    if (drawn.gamma != 1).any():
        low = images.amin((2, 3, 4), keepdim=True)
        width = images.amax((2, 3, 4), keepdim=True) - low + 1e-6
        images = ((images - low) / width).pow(per_crop(drawn.gamma)) * width + low
    images = images * per_crop(drawn.gain) + per_crop(drawn.offset)
    if drawn.noise.any():
        noise: Any = torch.randn(
            images.shape, generator=generator, device=images.device, dtype=images.dtype
        )
        images = images + noise * per_crop(drawn.noise)
    return images
