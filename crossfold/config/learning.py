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
    model_validator,
)

from crossfold.config.augmentation import (
    Augmentation,
    AugmentationConfig,
    Fraction,
    Pairs,
    mirror_pairs_of,
)
from crossfold.config.base import Section, importable
from crossfold.config.losses import Losses
from crossfold.config.optimisation import (
    SHAPED_BY_LENGTH,
    AdamW,
    OneCycle,
    OptimiserConfig,
    RisingEpochs,
    ScheduleConfig,
    WarmupConfig,
)
from crossfold.config.sampling import SamplingConfig

PLACE = frozenset({"device", "devices"})
"""Keys of `training` that say where a fold is trained: it is not trained again when they change."""
_ONE_CYCLE_WARMUP = 0.15


class NetworkConfig(BaseModel):
    """A network by import path, and the arguments of its constructor.

    `in_channels`, `out_channels` and `spatial_dims` are filled in where the constructor takes them.
    """

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    target: Annotated[str, AfterValidator(importable)] = Field(
        "crossfold.learning.networks.UNet", alias="_target_"
    )
    """Import path of a torch.nn.Module; the other keys are the arguments of its constructor."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return dict(self.__pydantic_extra__ or {})


class CheckpointsConfig(Section):
    """Which epochs keep their checkpoint; the last one always does."""

    first: PositiveInt | None = None
    """First epoch that may be kept; null: the first multiple of `every`."""
    every: PositiveInt | None = None
    """Epochs that are kept are multiples of this; null: none but the last one."""
    keep_best: bool = False
    """Keep a copy of the best epoch too, by the mean Dice on crops of the validation subjects, as
    `best.safetensors`; nothing predicts from it unless told to."""

    @model_validator(mode="after")
    def _first_needs_every(self) -> CheckpointsConfig:
        if self.first is not None and self.every is None:
            raise ValueError("first without every keeps nothing; add `every`")
        return self


class TrainingConfig(Section):
    """How one fold is trained."""

    epochs: PositiveInt = 60
    """Number of epochs; with more of them, a training that has ended is continued."""
    extended_from: RisingEpochs = ()
    """Epochs at which this training ended before it was extended; with them it can be repeated from
    the start, with the learning rates that it had."""
    iterations_per_epoch: PositiveInt = 25
    """Optimisation steps per epoch, whatever the number of subjects."""
    batch_size: PositiveInt = 2
    """Crops per step, on all devices together."""
    patch_size: Literal["auto"] | tuple[PositiveInt, PositiveInt, PositiveInt] = "auto"
    """Crop in voxels of the training grid; auto: the median image, cut to about 65 000 voxels."""
    foreground: Fraction = 0.5
    """Share of the crops centred on a voxel of a structure drawn at random."""
    sampling: SamplingConfig = SamplingConfig()
    """Classes at the centre of crops, instead of `foreground`."""
    learning_rate: PositiveFloat = 0.006
    """Learning rate at the top of the schedule."""
    schedule: ScheduleConfig = OneCycle()
    """How the learning rate changes after the warm-up."""
    warmup: Fraction | WarmupConfig | None = None
    """Linear rise of the learning rate: a share of the steps, or {epochs:} or {steps:}; null: 0.15
    with one_cycle, none with other schedules."""
    optimiser: OptimiserConfig = AdamW()
    """What turns gradients into steps."""
    weight_decay: NonNegativeFloat = 0.01
    """Weight decay: decoupled with adamw, an L2 penalty with others that are not told otherwise."""
    gradient_clip: PositiveFloat = 12.0
    """Largest norm of the gradient."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights that is saved; 0: none."""
    cross_entropy: Fraction = 0.5
    """Weight of cross-entropy against the soft Dice loss, where `loss` names nothing."""
    loss: Losses = ()
    """A loss, or a list of losses with their shares, instead of `cross_entropy` and soft Dice."""
    half_resolution: Fraction = 0.0
    """Share of the steps, the first ones, that see crops averaged to the second level's grid."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Arithmetic of the network; auto: bf16 where the processor has instructions for it, else fp32;
    fp16: with a scaled loss, for GPUs without bf16 (CPUs emulate it, slowly)."""
    compile: bool = False
    """Compile the training step with torch.compile, which needs a C++ compiler."""
    device: str = "auto"
    """cpu, cuda, cuda:1; auto: a GPU where there is one."""
    devices: PositiveInt | Literal["auto"] = 1
    """GPUs (of a CPU: processes) that share the crops of each step; auto: as many of the GPUs that
    the job sees as divide `batch_size`."""
    seed: int = 0
    """Seed; fold k uses seed + k."""
    validate_every: PositiveInt = 5
    """Epochs between two measurements of loss and Dice on crops of the validation subjects."""
    checkpoints: CheckpointsConfig = CheckpointsConfig()
    """Which epochs are kept, besides the last one."""
    augmentation: Augmentation = Field(default_factory=AugmentationConfig)
    """Random changes to training crops: the keys of a shorthand, or a list of transforms, done in
    its order."""

    @model_validator(mode="after")
    def _agree(self) -> TrainingConfig:
        if self.devices != "auto" and self.batch_size % self.devices:
            raise ValueError(
                f"devices: {self.devices} of them cannot share {self.batch_size} crops alike; make "
                "batch_size a multiple of it"
            )
        floor = self.schedule.floor
        if floor > self.learning_rate:
            raise ValueError(
                f"schedule.floor is {floor:g}, above learning_rate {self.learning_rate:g}; lower it"
            )
        if self.extended_from and self.extended_from[-1] >= self.epochs:
            raise ValueError(
                f"extended_from: a training of {self.epochs} epochs cannot have ended at "
                f"{self.extended_from[-1]} before; raise epochs, or leave it out"
            )
        if self.warmup_steps(self.iterations) >= self.iterations and not self._is_one_cycle:
            raise ValueError(
                f"warmup: {self.warmup_steps(self.iterations)} steps, and the training has "
                f"{self.iterations}; shorten it"
            )
        return self

    @property
    def mirror_pairs(self) -> Pairs:
        """Structures that change names when mirrored along x."""
        return mirror_pairs_of(self.augmentation)

    @property
    def _is_one_cycle(self) -> bool:
        return self.schedule.method == "one_cycle"

    @property
    def iterations(self) -> int:
        """Number of optimisation steps."""
        return self.epochs * self.iterations_per_epoch

    def planned_iterations(self, step: int) -> int:
        """Return how many steps the training was to have when it took one, counted from 0."""
        ends = (end * self.iterations_per_epoch for end in self.extended_from)
        return next((end for end in ends if step < end), self.iterations)

    def warmup_steps(self, iterations: int) -> int:
        """Return in how many of all steps the learning rate rises."""
        match self.warmup:
            case WarmupConfig(epochs=int(epochs)):
                return epochs * self.iterations_per_epoch
            case WarmupConfig(steps=int(steps)):
                return steps
            case float(share):
                return round(share * iterations)
        return round(_ONE_CYCLE_WARMUP * iterations) if self._is_one_cycle else 0

    @property
    def depends_on_length(self) -> bool:
        """Say whether the first steps are others when `epochs` is another number."""
        share = not isinstance(self.warmup, WarmupConfig) and self.warmup
        by_length = self.schedule.method in SHAPED_BY_LENGTH
        return bool(by_length or share or self.half_resolution)

    @property
    def checkpoint_epochs(self) -> list[int]:
        """Epochs whose checkpoints are kept."""
        step = self.checkpoints.every or self.epochs
        multiples = range(step, self.epochs + 1, step)
        kept = {epoch for epoch in multiples if epoch >= (self.checkpoints.first or 1)}
        return sorted({*kept, self.epochs})
