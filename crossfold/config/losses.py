"""`training.loss:` of a model: what is minimised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    Tag,
)

from crossfold.config.base import Section, importable


class SoftDice(Section):
    """1 - soft Dice of the structures (Milletari et al. 2016), linear, sums over the batch."""

    method: Literal["soft_dice"]
    """2 Σpt / (Σp + Σt) of each structure over all crops of a step, without the background."""
    share: PositiveFloat = 1.0
    """Weight among several losses, which are scaled to add up to 1."""
    class_weight_power: NonNegativeFloat = 0.0
    """A structure of n voxels in the batch has a weight proportional to n ** -power; mean 1."""


class SquaredDice(Section):
    """1 - soft Dice with squares below, of background and structures, in each crop: InnerEye's."""

    method: Literal["squared_dice"]
    """2 Σpt / (Σp² + Σt²) of every class in each crop, with the background, and their mean."""
    share: PositiveFloat = 1.0
    """Weight among several losses, which are scaled to add up to 1."""
    class_weight_power: NonNegativeFloat = 0.0
    """A class of n voxels in the batch has a weight proportional to n ** -power; mean 1."""


class CrossEntropy(Section):
    """Cross-entropy, mean over voxels."""

    method: Literal["cross_entropy"]
    """-log p of the true class."""
    share: PositiveFloat = 1.0
    """Weight among several losses, which are scaled to add up to 1."""
    class_weight_power: NonNegativeFloat = 0.0
    """A class of n voxels in the batch has a weight proportional to n ** -power; mean 1."""
    label_smoothing: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Probability that moves from the true class to the others, in equal parts."""


class Focal(Section):
    """Cross-entropy that attends to what is predicted badly (Lin et al. 2017)."""

    method: Literal["focal"]
    """(1 - p) ** gamma times cross-entropy."""
    share: PositiveFloat = 1.0
    """Weight among several losses, which are scaled to add up to 1."""
    class_weight_power: NonNegativeFloat = 0.0
    """A class of n voxels in the batch has a weight proportional to n ** -power; mean 1."""
    gamma: NonNegativeFloat = 1.0
    """Exponent; 0 is cross-entropy."""
    rescaled: bool = True
    """The factor has mean 1 and no gradient, as in InnerEye; false: plain, as in MONAI, whose mean
    is over voxels and classes."""


class ImportedLoss(BaseModel):
    """A loss by import path, and the arguments of its constructor.

    It is called as MONAI's losses are: with logits (batch, class, x, y, z), background first, and
    integer labels (batch, 1, x, y, z), and returns a scalar.
    """

    model_config = ConfigDict(
        extra="allow", frozen=True, use_attribute_docstrings=True, serialize_by_alias=True
    )

    target: Annotated[str, AfterValidator(importable)] = Field(alias="_target_")
    """Import path of a class such as monai.losses.TverskyLoss; the other keys are the arguments of
    its constructor. Of a function: what it is called with, besides logits and labels."""
    share: PositiveFloat = 1.0
    """Weight among several losses, which are scaled to add up to 1."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self.__pydantic_extra__ or {})


def _kind(loss: Any) -> str | None:
    """Say which of the sections a loss is."""
    if isinstance(loss, Mapping):
        return "_target_" if "_target_" in loss else loss.get("method")
    return "_target_" if isinstance(loss, ImportedLoss) else getattr(loss, "method", None)


LossConfig = Annotated[
    Annotated[SoftDice, Tag("soft_dice")]
    | Annotated[SquaredDice, Tag("squared_dice")]
    | Annotated[CrossEntropy, Tag("cross_entropy")]
    | Annotated[Focal, Tag("focal")]
    | Annotated[ImportedLoss, Tag("_target_")],
    Discriminator(
        _kind,
        custom_error_type="unknown_loss",
        custom_error_message="a loss needs a `method` (`soft_dice`, `squared_dice`, "
        "`cross_entropy` or `focal`) or an import path `_target_`",
    ),
]


def _one_or_several(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


Losses = Annotated[
    tuple[LossConfig, ...],
    BeforeValidator(_one_or_several, json_schema_input_type=LossConfig | tuple[LossConfig, ...]),
]
