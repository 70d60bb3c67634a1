"""`preprocessing:` of a model: the grid and the intensities on which a network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from crossfold.config.base import Section, rising

Percentile = Annotated[float, Field(ge=0, le=100)]
Percentiles = Annotated[tuple[Percentile, Percentile], rising()]
OutputRange = Annotated[tuple[float, float], rising()]


class Unchanged(Section):
    """Leave the intensities as they are in the file."""

    method: Literal["unchanged"]
    """For images that were normalised before; their values have to lie within ±65 504."""


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
    output_range: OutputRange = (0.0, 1.0)
    """What the window is mapped to; what lies outside of an image is 0 whatever the range."""


class PercentileRange(Section):
    """Map the range between two percentiles of the image linearly to [0, 1] and clip."""

    method: Literal["percentile"]
    """The same share of voxels at 0 and at 1 in every image; for scales without a unit."""
    percentiles: Percentiles = (1.0, 99.0)
    """Lower and upper percentile of the image."""
    output_range: OutputRange = (0.0, 1.0)
    """What the range is mapped to; what lies outside of an image is 0 whatever the range."""


class MriWindow(Section):
    """Map the bulk of the tissue, told from air by Otsu's threshold, to a range and clip."""

    method: Literal["mri_window"]
    """InnerEye's MriWindow: median ± multiples of a robust deviation of the voxels above Otsu's
    threshold; for MR with much air around the patient."""
    sharpen: PositiveFloat = 0.9
    """Half width of the range in robust standard deviations (interquartile range / 1.349)."""
    tail: PositiveFloat = 1.0
    """Factor on the half width above the median, for channels with a long bright tail."""
    output_range: OutputRange = (0.0, 1.0)
    """What the range is mapped to; what lies outside of an image is 0 whatever the range."""


class TrimmedRange(Section):
    """Map a range around the median of the voxels between two percentiles, and clip."""

    method: Literal["trimmed"]
    """InnerEye's TrimmedNorm: median ± a multiple of a robust deviation of what trimming leaves;
    outside of `preprocessing.mask` everything is the lower end of the range."""
    percentiles: Percentiles = (1.0, 99.0)
    """Percentiles of the voxels in the mask between which, both excluded, voxels are kept."""
    sharpen: PositiveFloat = 0.9
    """Half width of the range in robust standard deviations (interquartile range / 1.349)."""
    output_range: OutputRange = (0.0, 1.0)
    """What the range is mapped to; what lies outside of an image is 0 whatever the range."""


AnyNormalisation = ZScore | CtWindow | PercentileRange | MriWindow | TrimmedRange | Unchanged
Normalisation = Annotated[AnyNormalisation, Field(discriminator="method")]


class PreprocessingConfig(Section):
    """How images become the arrays that all folds share."""

    spacing_mm: Literal["median"] | tuple[PositiveFloat | None, ...] = "median"
    """Voxel size in mm along right, anterior, superior; null keeps an axis as it is in each image;
    median: the median of the training subjects."""
    normalisation: Normalisation | dict[str, Normalisation] = ZScore()
    """How intensities are normalised: one method for all images, or one per image channel."""
    mask: str | None = None
    """Channel of dataset.csv that holds the inside of the body, as a binary mask or a label: what
    z_score, percentile and trimmed measure, where crops are centred, and outside of which a
    prediction is background; null: everywhere."""

    @model_validator(mode="after")
    def _three_axes(self) -> PreprocessingConfig:
        if self.spacing_mm != "median" and len(self.spacing_mm) != 3:
            raise ValueError(f"spacing_mm needs three values, not {len(self.spacing_mm)}")
        return self

    def normalisation_of(self, channel: str) -> AnyNormalisation:
        """Return the normalisation of one image channel."""
        if isinstance(self.normalisation, dict):
            return self.normalisation[channel]
        return self.normalisation
