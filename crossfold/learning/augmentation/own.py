"""Transforms of a site's own, by import path."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from crossfold.config.augmentation import ImportedTransform
from crossfold.config.functions import load_object
from crossfold.errors import CrossfoldError
from crossfold.learning.augmentation.geometry import Drawn

_KEY = "training.augmentation"


class Transform(Protocol):
    """What a transform has to have."""

    def draw(self, random: np.random.Generator, count: int) -> Drawn:
        """Draw the numbers for a batch, by name: arrays with one entry per crop."""
        ...

    def apply(
        self, images: Tensor, labels: Tensor, drawn: Drawn, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change a batch on the device of its tensors, without changing these in place.

        Parameters
        ----------
        images
            float32 (crop, channel, x, y, z), normalised.
        labels
            int64 (crop, x, y, z); 0 is background.
        drawn
            What `draw` returned, for these crops.
        generator
            Source of noise, on that device.

        Returns
        -------
        images, labels
            Of the same shapes.
        """
        ...


class OwnTransform:
    """A transform by import path, with errors that name the key of the configuration.

    Parameters
    ----------
    config
        Its import path and arguments.
    structures
        Names of the structures, in the order of their labels.
    spacing_mm
        Voxel size of the training grid.

    Raises
    ------
    CrossfoldError
        If it cannot be imported, refuses its arguments, or is no transform.
    """

    def __init__(
        self, config: ImportedTransform, *, structures: Sequence[str], spacing_mm: Sequence[float]
    ) -> None:
        self.target = config.target
        kind = load_object(config.target, f"{_KEY}._target_")
        if not all(callable(getattr(kind, name, None)) for name in ("draw", "apply")):
            raise CrossfoldError(
                f"{_KEY}: {self.target} is no transform",
                remedy="give it the methods `draw(random, count)` and "
                "`apply(images, labels, drawn, generator)`",
            )
        known = {"structures": [*structures], "spacing_mm": [*spacing_mm]}
        taken = inspect.signature(kind).parameters
        arguments = {name: value for name, value in known.items() if name in taken}
        try:
            self._transform: Transform = kind(**(arguments | config.arguments))
        except (TypeError, ValueError) as error:
            raise CrossfoldError(
                f"{_KEY}: {self.target} refuses its arguments: {error}",
                remedy=f"see the signature {inspect.signature(kind)}",
            ) from error

    def draw(self, random: np.random.Generator, count: int) -> Drawn:
        """Draw the numbers for a batch."""
        drawn: Any = self._transform.draw(random, count)
        if not isinstance(drawn, Mapping) or any(len(values) != count for values in drawn.values()):
            raise CrossfoldError(
                f"{_KEY}: `draw` of {self.target} does not return one entry per crop",
                remedy=f"return a dict of arrays, each with {count} entries for {count} crops",
            )
        return {name: np.asarray(values) for name, values in drawn.items()}

    def apply(
        self, images: Tensor, labels: Tensor, drawn: Drawn, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Change a batch."""
        result: Any = self._transform.apply(images, labels, drawn, generator)
        expected = [(images.shape, images.dtype), (labels.shape, labels.dtype)]
        if not isinstance(result, tuple) or expected != [
            (getattr(array, "shape", None), getattr(array, "dtype", None)) for array in result
        ]:
            raise CrossfoldError(
                f"{_KEY}: `apply` of {self.target} does not return images and labels of the shape "
                "and type that it was given",
                remedy=f"return images {tuple(images.shape)} of {images.dtype} and labels "
                f"{tuple(labels.shape)} of {labels.dtype}",
            )
        return result
