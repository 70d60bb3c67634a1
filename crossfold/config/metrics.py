"""`metrics:` of a model."""

from typing import Annotated

from pydantic import Field

from crossfold.config.base import Section
from crossfold.errors import CrossfoldError

Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MetricsConfig(Section):
    """How predictions are compared with their references."""

    nsd_tolerance_mm: Tolerance | dict[str, Tolerance] = 1.0
    """Tolerance of the normalised surface Dice in mm: one, or one per structure and `default`."""

    nsd_curve_mm: Annotated[list[Tolerance], Field(min_length=2)] = [
        *(0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    ]
    """Tolerances in mm at which the curve of the normalised surface Dice is measured."""

    def tolerance_of(self, structure: str) -> float:
        """Tolerance of a structure in mm.

        Raises
        ------
        CrossfoldError
            If tolerances are given per structure, and neither this one nor `default` is there.
        """
        if not isinstance(self.nsd_tolerance_mm, dict):
            return self.nsd_tolerance_mm
        for key in (structure, "default"):
            if key in self.nsd_tolerance_mm:
                return self.nsd_tolerance_mm[key]
        raise CrossfoldError(
            f"metrics.nsd_tolerance_mm: no tolerance for {structure}",
            remedy=f"add {structure} or default to it, in mm",
        )
