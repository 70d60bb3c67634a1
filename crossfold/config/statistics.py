"""`statistics:` of config.yaml."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from crossfold.config.base import Section


class StatisticsConfig(Section):
    """How sure we are of a number in a table."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Coverage of the confidence intervals, as a fraction."""
    resamples: Annotated[int, Field(ge=999)] = 9999
    """Number of bootstrap resamples of the subjects."""
    seed: NonNegativeInt = 0
    """Seed of the bootstrap."""
