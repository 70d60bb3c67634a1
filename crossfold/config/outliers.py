"""`outliers:` of a model."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from crossfold.config.base import Section

Fraction = Annotated[float, Field(ge=0, le=1)]


class OutliersConfig(Section):
    """From where on a result is listed as an outlier. None is removed from the statistics."""

    dice: Fraction | dict[str, Fraction] = 0.5
    """Clinical: Dice below this; one, or one per structure and `default`."""
    hd95_mm: PositiveFloat | dict[str, PositiveFloat] = 20.0
    """Clinical: 95th percentile of the surface distance above this, in mm; one, or per structure
    and `default`."""
    volume_ml: PositiveFloat = 5.0
    """Clinical: the volume is wrong by more than this, in ml, and by more than `volume_pct`."""
    volume_pct: PositiveFloat = 50.0
    """Clinical: see `volume_ml`, in percent of the reference."""
    extra_components: PositiveInt = 3
    """Hard: more components than the reference has, by more than this."""
    remote_mm: PositiveFloat = 30.0
    """Hard: a component that begins further than this from the reference, in mm."""
    swap_gain: Fraction = 0.3
    """Hard: Dice of a left-right pair rises by more than this when its labels are exchanged."""
    tukey: PositiveFloat = 1.5
    """Statistical: beyond a quartile by this many interquartile ranges, on the bad side."""
    robust_z: PositiveFloat = 3.5
    """Statistical: distance from the median in units of 1.48 median absolute deviations."""
    standard_deviations: PositiveFloat = 3.0
    """Lists test_outliers.txt and val_outliers.txt: distance from the mean of the structure."""
    disagreement_percentile: Annotated[float, Field(gt=50, lt=100)] = 95.0
    """Disagreement: two runs differ by more than this percentile of their differences."""
    worst: NonNegativeInt = 3
    """Rank: this many subjects with the lowest Dice are always listed."""
