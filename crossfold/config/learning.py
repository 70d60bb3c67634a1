"""`network:` and `training:` of a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
)

from crossfold.config.base import Section

Axis = Literal["x", "y", "z"]
Fraction = Annotated[float, Field(ge=0, le=1)]
PerAxis = tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat]


def _importable(path: str) -> str:
    if not all(part.isidentifier() for part in path.split(".")) or "." not in path:
        raise ValueError("has to be an import path such as monai.networks.nets.DynUNet")
    return path


class NetworkConfig(BaseModel):
    """A network by import path, and the arguments of its constructor.

    `in_channels`, `out_channels` and `spatial_dims` are filled in where the constructor takes them.
    """

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    target: Annotated[str, AfterValidator(_importable)] = Field(
        "crossfold.learning.networks.UNet", alias="_target_"
    )
    """Import path of a torch.nn.Module; the other keys are the arguments of its constructor."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self.__pydantic_extra__ or {})


class AugmentationConfig(Section):
    """Random changes to each training crop; standard deviations unless said otherwise."""

    mirror_axes: tuple[Axis, ...] = ()
    """Axes along which a crop is mirrored at random, where anatomy allows it."""
    mirror_pairs: tuple[tuple[str, str], ...] = ()
    """Structures that change names when mirrored along x, such as [femur_l, femur_r]."""
    affine_probability: Fraction = 0.5
    """Share of the crops that are rotated, scaled and deformed."""
    rotation_deg: PerAxis = (7.0, 7.0, 7.0)
    """Rotation about x, y, z in degrees."""
    scaling: NonNegativeFloat = 0.1
    """Logarithm of the scale, common to all axes that are not kept."""
    aspect: NonNegativeFloat = 0.0
    """Logarithm of the scale of x, and of 1 / scale of y."""
    elastic_mm: NonNegativeFloat = 0.0
    """In-plane elastic displacement in mm, of half of the crops that are deformed."""
    gain: Fraction = 0.15
    """Half width of the uniform factor around 1 on intensities."""
    offset: NonNegativeFloat = 0.1
    """Half width of the uniform shift of intensities, after normalisation."""
    gamma: NonNegativeFloat = 0.0
    """Logarithm of the exponent on intensities scaled to [0, 1], for half of the crops."""
    bias_field: NonNegativeFloat = 0.0
    """Smooth additive in-plane field on intensities, for half of the crops."""
    noise: NonNegativeFloat = 0.0
    """Largest standard deviation of white noise, for 30 % of the crops."""


class TrainingConfig(Section):
    """How one fold is trained."""

    epochs: PositiveInt = 60
    """Number of epochs."""
    iterations_per_epoch: PositiveInt = 25
    """Optimisation steps per epoch, whatever the number of subjects."""
    batch_size: PositiveInt = 2
    """Crops per step."""
    patch_size: Literal["auto"] | tuple[PositiveInt, PositiveInt, PositiveInt] = "auto"
    """Crop in voxels of the training grid; auto: the median image, cut to about 65 000 voxels."""
    foreground: Fraction = 0.5
    """Share of the crops centred on a voxel of a structure drawn at random."""
    learning_rate: PositiveFloat = 0.006
    """Peak of the one-cycle schedule of AdamW."""
    warmup: Fraction = 0.15
    """Share of the steps in which the learning rate rises."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay."""
    gradient_clip: PositiveFloat = 12.0
    """Largest norm of the gradient."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights that is saved; 0: none."""
    cross_entropy: Fraction = 0.5
    """Weight of cross-entropy against the soft Dice loss."""
    half_resolution: Fraction = 0.0
    """Share of the steps, the first ones, that see crops averaged to the second level's grid."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Arithmetic of the network; auto: bf16 where the processor has instructions for it."""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: a GPU where there is one."""
    seed: int = 0
    """Seed; fold k uses seed + k."""
    validate_every: PositiveInt = 5
    """Epochs between two measurements of loss and Dice on crops of the validation subjects."""
    checkpoint_every: PositiveInt | None = None
    """Epochs between two checkpoints that are kept, besides the last one."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes to training crops."""

    @property
    def iterations(self) -> int:
        """Number of optimisation steps."""
        return self.epochs * self.iterations_per_epoch

    @property
    def checkpoint_epochs(self) -> list[int]:
        """Epochs whose checkpoints are kept."""
        step = self.checkpoint_every or self.epochs
        return sorted({*range(step, self.epochs + 1, step), self.epochs})
