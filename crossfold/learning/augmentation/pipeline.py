"""The transforms of a training, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossfold.config.augmentation import (
    Affine,
    AugmentationConfig,
    BiasField,
    Blur,
    BuiltIn,
    Elastic,
    Gamma,
    ImportedTransform,
    Intensity,
    LowResolution,
    Mirror,
    Noise,
    Transforms,
)
from crossfold.learning.augmentation import geometry, intensities, shorthand
from crossfold.learning.augmentation.geometry import Deformer, Drawn
from crossfold.learning.augmentation.own import OwnTransform
from crossfold.learning.sampling import Share

_DRAW: dict[type, Callable[[Any, np.random.Generator, int], Drawn]] = {
    Affine: geometry.draw_affine,
    Elastic: geometry.draw_elastic,
    Mirror: geometry.draw_mirror,
    BiasField: intensities.draw_bias_field,
    Gamma: intensities.draw_gamma,
    Intensity: intensities.draw_intensity,
    Noise: intensities.draw_noise,
    Blur: intensities.draw_blur,
    LowResolution: intensities.draw_low_resolution,
}


class Augmenter:
    """Draws changes to crops, and applies them.

    Parameters
    ----------
    config
        Section `training.augmentation`.
    patch_size
        Crop in voxels without its margin.
    spacing_mm
        Voxel size of the training grid.
    structures
        Names of the structures.

    Attributes
    ----------
    margin
        Voxels along x, y, z that crops need around them; they are taken away where crops are
        deformed for the last time.

    Raises
    ------
    CrossfoldError
        If a transform of a site's own cannot be made.
    """

    def __init__(
        self,
        config: AugmentationConfig | Transforms,
        *,
        patch_size: Sequence[int],
        spacing_mm: Sequence[float],
        structures: Sequence[str],
    ) -> None:
        self.config = config
        listed = shorthand.written_out(config) if isinstance(config, AugmentationConfig) else config
        self.transforms: list[BuiltIn | OwnTransform] = [
            OwnTransform(one, structures=structures, spacing_mm=spacing_mm)
            if isinstance(one, ImportedTransform)
            else one
            for one in listed
        ]
        self._renamed = {
            i: geometry.mirrored_labels(one.pairs, structures)
            for i, one in enumerate(listed)
            if isinstance(one, Mirror)
        }
        deformations = {i: t for i, t in enumerate(listed) if isinstance(t, Affine | Elastic)}
        # Those side by side share an interpolation; every other transform is a step of its own.
        groups = groupby(range(len(listed)), key=lambda i: -1 if i in deformations else i)
        self._steps = [[*group] for _, group in groups]
        self.margin = geometry.margin_of([*deformations.values()], patch_size)
        full = [size + 2 * around for size, around in zip(patch_size, self.margin, strict=True)]
        self._deformers = {
            step[0]: Deformer(
                [deformations[i] for i in step],
                patch_size=patch_size if max(deformations) in step else full,
                margin=self.margin if max(deformations) in step else [0, 0, 0],
                spacing_mm=spacing_mm,
                classes=len(structures) + 1,
            )
            for step in self._steps
            if step[0] in deformations
        }

    def draw(self, random: np.random.Generator, count: int) -> list[Drawn]:
        """Draw the changes for `count` crops: arrays by name for each transform."""
        if isinstance(self.config, AugmentationConfig):
            affine = self.transforms[0]
            assert isinstance(affine, Affine)
            return shorthand.draw(self.config, affine, random, count)
        return [
            one.draw(random, count)
            if isinstance(one, OwnTransform)
            else _DRAW[type(one)](one, random, count)
            for one in self.transforms
        ]

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        drawn: Sequence[Drawn],
        generator: torch.Generator,
        share: Share | None = None,
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
        share
            Which of the crops for which numbers were drawn these are; by default all of them.

        Returns
        -------
        images, labels
            (crop, channel, x, y, z) and (crop, x, y, z).
        """
        share = share or Share(slice(None), len(images))
        drawn = [{name: values[share.crops] for name, values in one.items()} for one in drawn]
        for step in self._steps:
            first = step[0]
            if first in self._deformers:
                deformer = self._deformers[first]
                images, labels = deformer(images, labels, [drawn[i] for i in step])
            else:
                transform, numbers = self.transforms[first], drawn[first]
                if isinstance(transform, OwnTransform):
                    images, labels = transform.apply(images, labels, numbers, generator)
                elif isinstance(transform, Mirror):
                    renamed = self._renamed[first]
                    images, labels = geometry.mirror(images, labels, numbers["axes"], renamed)
                else:
                    images = _changed(transform, images, numbers, generator, share)
        return images, labels


def _changed(
    transform: BuiltIn, images: Tensor, drawn: Drawn, generator: torch.Generator, share: Share
) -> Tensor:
    """Apply a transform that leaves labels as they are."""
    match transform:
        case BiasField():
            return intensities.add_bias_field(images, drawn)
        case Gamma():
            return intensities.change_gamma(images, drawn, transform)
        case Intensity():
            return intensities.change_intensity(images, drawn, transform)
        case Noise():
            return intensities.add_noise(images, drawn, generator, share)
        case Blur():
            return intensities.blur(images, drawn)
        case LowResolution():
            return intensities.lower_resolution(images, drawn)
    raise AssertionError(transform)
