"""Where the voxels of a crop come from: rotation, scale, bending, mirror images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from crossfold.config.augmentation import Affine, Axis, Deformation, Elastic, Mirror, Pairs, Spread

# What was drawn for a batch: arrays by name, with one entry per crop.
Drawn: TypeAlias = Mapping[str, NDArray]

# Margin around a crop, as a share of its size, from which rotated and enlarged crops are filled.
MARGIN = 0.15


def spread(distribution: Spread, random: np.random.Generator, shape: Sequence[int]) -> NDArray:
    """Draw standard normal numbers, or uniform ones between -1 and 1."""
    if distribution == "normal":
        return random.normal(0, 1, shape)
    return random.uniform(-1, 1, shape)


def draw_affine(config: Affine, random: np.random.Generator, count: int) -> Drawn:
    """Draw `chosen`, bool (crop), and `matrix`, (crop, 3, 3), as `draw_matrices` does."""
    chosen = random.random(count) < config.probability
    return {"chosen": chosen, "matrix": draw_matrices(config, random, count)}


def draw_matrices(config: Affine, random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Draw rotations and scales, (crop, 3, 3), from the new crop to the old, in mm."""

    def draw(*shape: int) -> NDArray:
        return spread(config.distribution, random, (count, *shape))

    vectors = np.deg2rad(draw(3) * np.array(config.rotation_deg))
    rotation = Rotation.from_rotvec(vectors).as_matrix()
    scale = np.exp(draw() * config.scaling)
    aspect = np.exp(draw() * config.aspect)
    depth = np.ones(count) if config.keeps_slices else scale
    diagonal = np.stack([scale * aspect, scale / aspect, depth], axis=1)
    return (rotation / diagonal[:, None, :]).astype(np.float32)


def draw_elastic(config: Elastic, random: np.random.Generator, count: int) -> Drawn:
    """Draw `chosen`, bool (crop), and `displacement_mm` of control points.

    Displacements are (crop, 2, points, points), or (crop, 3, points, points, points) in space; 0
    where a crop is not chosen.
    """
    axes = 2 if config.in_plane else 3
    chosen = random.random(count) < config.probability
    shape = (count, axes, *[config.points] * axes)
    displacement = random.normal(0, config.displacement_mm, shape).astype(np.float32)
    displacement[~chosen] = 0
    return {"chosen": chosen, "displacement_mm": displacement}


def draw_mirror(config: Mirror, random: np.random.Generator, count: int) -> Drawn:
    """Draw `axes`, bool (crop, axis)."""
    return {"axes": drawn_axes(config.axes, random, count, config.probability)}


def drawn_axes(
    allowed: Sequence[Axis], random: np.random.Generator, count: int, probability: float
) -> NDArray[np.bool_]:
    """Draw along which of the allowed axes each crop is mirrored, bool (crop, axis)."""
    axes = np.array([axis in allowed for axis in "xyz"])
    return (random.random((count, 3)) < probability) & axes


def margin_of(deformations: Sequence[Deformation], patch_size: Sequence[int]) -> list[int]:
    """Return the voxels along x, y, z that a crop needs around it to be rotated or bent."""
    if not any(config.probability for config in deformations):
        return [0, 0, 0]
    margin = [round(MARGIN * size) for size in patch_size]
    in_plane = all(config.keeps_slices for config in deformations)
    return [*margin[:2], 0] if in_plane else margin


class Deformer:
    """Rotates, scales and bends crops with one interpolation.

    Parameters
    ----------
    configs
        Affine and elastic transforms that are done together.
    patch_size
        Voxels of what it returns.
    margin
        Voxels along x, y, z that crops have around that, and lose.
    spacing_mm
        Voxel size of the training grid.
    classes
        Number of structures and background.
    """

    def __init__(
        self,
        configs: Sequence[Deformation],
        *,
        patch_size: Sequence[int],
        margin: Sequence[int],
        spacing_mm: Sequence[float],
        classes: int,
    ) -> None:
        self.in_plane = all(config.keeps_slices for config in configs)
        self.patch_size, self.margin = tuple(patch_size), tuple(margin)
        self.spacing_mm = torch.tensor(spacing_mm, dtype=torch.float32)
        self.classes = classes

    def __call__(
        self, images: Tensor, labels: Tensor, drawn: Sequence[Drawn]
    ) -> tuple[Tensor, Tensor]:
        """Return crops without their margin; those that nothing was drawn for are cut alone."""
        x, y, z = (slice(m, m + size) for m, size in zip(self.margin, self.patch_size, strict=True))
        new_images, new_labels = images[..., x, y, z], labels[..., x, y, z]
        chosen = np.flatnonzero(np.any([one["chosen"] for one in drawn], axis=0))
        if not chosen.size:
            return new_images, new_labels
        new_images, new_labels = new_images.clone(), new_labels.clone()
        grid = self._grid(images, [{k: v[chosen] for k, v in one.items()} for one in drawn])
        new_images[chosen], new_labels[chosen] = self._read(images[chosen], labels[chosen], grid)
        return new_images, new_labels

    def _read(self, images: Tensor, labels: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate images and structures; the strongest structure wins."""
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

    def _grid(self, images: Tensor, drawn: Sequence[Drawn]) -> Tensor:
        """Return where to read, as torch.nn.functional.grid_sample wants it (last axis first)."""
        device, axes = images.device, 2 if self.in_plane else 3
        spacing, size = self.spacing_mm[:axes], self.patch_size[:axes]
        points = [
            (torch.arange(length) - (length - 1) / 2) * step
            for length, step in zip(size, spacing, strict=True)
        ]
        mesh = torch.stack(torch.meshgrid(*points, indexing="ij"), dim=-1).to(device)
        matrix = torch.from_numpy(_product(drawn))[:, :axes, :axes].to(device)
        moved = torch.einsum("bij,...j->b...i", matrix, mesh)
        for one in drawn:
            if "displacement_mm" in one and one["displacement_mm"].any():
                moved += self._bend(torch.from_numpy(one["displacement_mm"]).to(device), axes)
        extent = torch.tensor(images.shape[2 : 2 + axes]) * spacing / 2
        return (moved / extent.to(device)).flip(-1)

    def _bend(self, displacement_mm: Tensor, axes: int) -> Tensor:
        """Return the displacement of every voxel, (crop, x, y, axis) or (crop, x, y, z, axis)."""
        if displacement_mm.ndim == 4:
            bend = cubic(displacement_mm, self.patch_size[:2]).movedim(1, -1)
            return bend if axes == 2 else functional.pad(bend, (0, 1))[:, :, :, None]
        # Cubic interpolation along x and y, and then along z.
        points = displacement_mm.movedim(-1, 2)
        slices = cubic(points.flatten(1, 2), self.patch_size[:2]).unflatten(1, points.shape[1:3])
        columns = slices.flatten(3)
        bend = cubic(columns, (self.patch_size[2], columns.shape[-1]))
        return bend.unflatten(3, self.patch_size[:2]).permute(0, 3, 4, 2, 1)


def cubic(field: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate control points, (crop, channel, points, points), the outer ones on the border."""
    return functional.interpolate(field, size, mode="bicubic", align_corners=True)


def _product(drawn: Sequence[Drawn]) -> NDArray[np.float32]:
    """Multiply the matrices of each crop, (crop, 3, 3); one that was not chosen counts as none."""
    product = np.tile(np.eye(3, dtype=np.float32), (len(drawn[0]["chosen"]), 1, 1))
    for one in drawn:
        if "matrix" in one:
            chosen = one["chosen"]
            product[chosen] = product[chosen] @ one["matrix"][chosen]
    return product


def mirror(
    images: Tensor, labels: Tensor, axes: NDArray[np.bool_], renamed: Tensor
) -> tuple[Tensor, Tensor]:
    """Mirror each crop along its axes; labels are renamed where x is one of them.

    Parameters
    ----------
    images, labels
        (crop, channel, x, y, z) and (crop, x, y, z).
    axes
        bool (crop, axis).
    renamed
        What `mirrored_labels` returns.
    """
    if not axes.any():
        return images, labels
    images, labels = images.clone(), labels.clone()
    for crop, is_along in enumerate(axes):
        along = np.flatnonzero(is_along).tolist()
        images[crop] = images[crop].flip([1 + axis for axis in along])
        labels[crop] = labels[crop].flip(along)
        if is_along[0]:
            labels[crop] = renamed.to(labels.device)[labels[crop]]
    return images, labels


def mirrored_labels(pairs: Pairs | Sequence[Sequence[str]], structures: Sequence[str]) -> Tensor:
    """Return the label that each label becomes when left and right change places, (class,)."""
    renamed = torch.arange(len(structures) + 1)
    for one, other in pairs:
        i, j = structures.index(one) + 1, structures.index(other) + 1
        renamed[i], renamed[j] = j, i
    return renamed


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
