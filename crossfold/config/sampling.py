"""`training.sampling:` of a model: where crops are centred."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from crossfold.config.base import Section, nearest

BACKGROUND = "background"
_SUM_TOLERANCE = 1e-3


class SamplingConfig(Section):
    """Probability of each class at the centre of a crop; without any, `foreground` decides."""

    class_weights: Literal["equal"] | dict[str, NonNegativeFloat] | None = None
    """Probability of every structure and of `background`, which add up to 1; equal: the same for
    all. What a subject does not have is drawn again among the others."""
    background_weight: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Probability of the background; structures share the rest equally."""

    @model_validator(mode="after")
    def _one_of_two(self) -> SamplingConfig:
        if self.class_weights is not None and self.background_weight is not None:
            raise ValueError("give class_weights or background_weight, not both")
        if isinstance(self.class_weights, dict):
            total = sum(self.class_weights.values())
            if not math.isclose(total, 1, abs_tol=_SUM_TOLERANCE):
                raise ValueError(f"class_weights add up to {total:g} and have to add up to 1")
        return self

    def weights(self, structures: Sequence[str]) -> tuple[float, ...] | None:
        """Return the probability of the background and of each structure, or None without any.

        Raises
        ------
        ValueError
            If a class has no weight, or a weight no class.

        Examples
        --------
        >>> SamplingConfig(background_weight=0.02).weights(["bladder", "rectum"])
        (0.02, 0.49, 0.49)
        """
        classes = [BACKGROUND, *structures]
        if self.background_weight is not None:
            share = (1 - self.background_weight) / len(structures)
            return (self.background_weight, *[share] * len(structures))
        if self.class_weights is None:
            return None
        if self.class_weights == "equal":
            return tuple([1 / len(classes)] * len(classes))
        for name in self.class_weights:
            if name not in classes:
                raise ValueError(f"class_weights: unknown name `{name}`; {nearest(name, classes)}")
        missing = [name for name in classes if name not in self.class_weights]
        if missing:
            raise ValueError(f"class_weights: no weight for {', '.join(missing)}; 0 is one")
        return tuple(self.class_weights[name] for name in classes)
