"""`diagnostics:` of a model: what is kept to look at a training by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from crossfold.config.base import Section


class DiagnosticsConfig(Section):
    """What is kept to look at a training by; changing it trains nothing again."""

    patch_sampling_subjects: PositiveInt = 1
    """Number of training subjects, the first ones, whose map of drawn crops is made."""
    patch_sampling_draws: Annotated[PositiveInt, Field(le=65_535)] = 1000
    """Crops that are drawn of each of them."""
    example_images_every: PositiveInt = 10
    """Epochs between two crops that are kept with labels and prediction; the last epoch always."""
    resources_every_s: PositiveInt = 10
    """Seconds between two looks at processor, memory and GPU."""
