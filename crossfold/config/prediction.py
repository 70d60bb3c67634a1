"""`inference:` and `postprocessing:` of a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from crossfold.config.base import Section
from crossfold.config.learning import Axis


class InferenceConfig(Section):
    """How a trained network is run over a whole image."""

    window: Literal["image", "patch"] | tuple[PositiveInt, PositiveInt, PositiveInt] = "patch"
    """Sliding window in voxels of the training grid; patch: the training patch; image: the whole
    image at once."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the window by which neighbours overlap."""
    batch_size: PositiveInt = 2
    """Windows per forward pass."""
    mirror_axes: tuple[Axis, ...] = ()
    """Axes along which the image is mirrored and the posteriors averaged."""


class PostprocessingConfig(Section):
    """What is done to a segmentation after the argmax."""

    largest_component: tuple[str, ...] = ()
    """Structures, or derived structures, of which only the largest connected part is kept."""
