"""`preprocessing:` of a model: the grid and the intensities on which a network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from crossfold.config.base import Section

Percentiles = tuple[
    Annotated[float, Field(ge=0, le=100)],
    Annotated[float, Field(ge=0, le=100)],
]


class ZScore(Section):
    """Subtract the image's mean and divide by its standard deviation."""

    method: Literal["z_score"] = "z_score"
    """Mean 0 and standard deviation 1 in every image; for MR."""
    clip_percentiles: Percentiles | None = None
    """Percentiles of the image to which it is clipped first; null: no clipping."""


class CtWindow(Section):
    """Map a window of CT numbers linearly to [0, 1] and clip."""

    method: Literal["ct_window"]
    """The same CT numbers in every image; for CT."""
    level: float = 50.0
    """Centre of the window in HU."""
    window: PositiveFloat = 600.0
    """Width of the window in HU."""


class PercentileRange(Section):
    """Map the range between two percentiles of the image linearly to [0, 1] and clip."""

    method: Literal["percentile"]
    """The same share of voxels at 0 and at 1 in every image; for scales without a unit."""
    percentiles: Percentiles = (1.0, 99.0)
    """Lower and upper percentile of the image."""

    @model_validator(mode="after")
    def _ordered(self) -> PercentileRange:
        if self.percentiles[0] >= self.percentiles[1]:
            raise ValueError("the first percentile has to be below the second")
        return self


Normalisation = Annotated[ZScore | CtWindow | PercentileRange, Field(discriminator="method")]


class PreprocessingConfig(Section):
    """How images become the arrays that all folds share."""

    spacing_mm: Literal["median"] | tuple[PositiveFloat | None, ...] = "median"
    """Voxel size in mm along right, anterior, superior; null keeps an axis as it is in each image;
    median: the median of the training subjects."""
    normalisation: Normalisation | dict[str, Normalisation] = ZScore()
    """How intensities are normalised: one method for all images, or one per image channel."""

    @model_validator(mode="after")
    def _three_axes(self) -> PreprocessingConfig:
        if self.spacing_mm != "median" and len(self.spacing_mm) != 3:
            raise ValueError(f"spacing_mm needs three values, not {len(self.spacing_mm)}")
        return self

    def normalisation_of(self, channel: str) -> ZScore | CtWindow | PercentileRange:
        """Return the normalisation of one image channel."""
        if isinstance(self.normalisation, dict):
            return self.normalisation[channel]
        return self.normalisation
