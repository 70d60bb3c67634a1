"""`training.optimiser:`, `training.schedule:` and `training.warmup:` of a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from crossfold.config.base import Section, rising

Decay = Annotated[float, Field(ge=0, lt=1)]
Unit = Literal["epoch", "step"]


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    method: Literal["adamw"] = "adamw"
    """torch.optim.AdamW."""
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second mean."""


class Adam(Section):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), or AMSGrad (Reddi et al. 2018)."""

    method: Literal["adam", "amsgrad"]
    """torch.optim.Adam; amsgrad divides by the largest second mean so far."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second mean."""
    decoupled: bool = False
    """`weight_decay` shrinks the weights; otherwise it is an L2 penalty, part of the gradient."""


class Sgd(Section):
    """Stochastic gradient descent with momentum."""

    method: Literal["sgd"]
    """torch.optim.SGD."""
    momentum: Decay = 0.9
    """Share of the step before that is taken again."""
    nesterov: bool = False
    """Look ahead along the momentum."""
    decoupled: bool = False
    """`weight_decay` shrinks the weights; otherwise it is an L2 penalty, part of the gradient."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum; set one, such as 0.9")
        return self


class RmsProp(Section):
    """RMSprop (Tieleman & Hinton 2012)."""

    method: Literal["rmsprop"]
    """torch.optim.RMSprop."""
    alpha: Decay = 0.99
    """Decay of the running mean of the squared gradient."""
    eps: PositiveFloat = 1e-8
    """Added to the root of that mean."""
    momentum: Decay = 0.0
    """Share of the step before that is taken again."""
    decoupled: bool = False
    """`weight_decay` shrinks the weights; otherwise it is an L2 penalty, part of the gradient."""


OptimiserConfig = Annotated[AdamW | Adam | Sgd | RmsProp, Field(discriminator="method")]


class OneCycle(Section):
    """Linear rise, then a cosine to the floor (Smith 2018, arXiv 1803.09820)."""

    method: Literal["one_cycle"] = "one_cycle"
    """Changes with every step; its shape depends on `epochs`."""
    floor: NonNegativeFloat = 0.0
    """Learning rate at the end."""


class Polynomial(Section):
    """A power of what is left of the training."""

    method: Literal["polynomial"]
    """floor + (learning_rate - floor) (1 - t / T) ** power; its shape depends on `epochs`."""
    power: PositiveFloat = 0.9
    """Exponent; 1 is a straight line."""
    per: Unit = "epoch"
    """Change with every epoch, or with every step."""
    floor: NonNegativeFloat = 0.0
    """Learning rate that it falls to."""


class Cosine(Section):
    """Half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983), without restarts."""

    method: Literal["cosine"]
    """From `learning_rate` to the floor; its shape depends on `epochs`."""
    per: Unit = "epoch"
    """Change with every epoch, or with every step."""
    floor: NonNegativeFloat = 0.0
    """Learning rate that it falls to."""


class Steps(Section):
    """A drop every so many epochs."""

    method: Literal["step"]
    """learning_rate times factor ** (epochs // every)."""
    every: PositiveInt
    """Epochs between two drops."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What the learning rate is multiplied with at each."""
    floor: NonNegativeFloat = 0.0
    """Lowest learning rate."""


RisingEpochs = Annotated[tuple[PositiveInt, ...], rising()]


class MultiStep(Section):
    """A drop after each of some epochs."""

    method: Literal["multi_step"]
    """learning_rate times factor ** (milestones passed)."""
    milestones: Annotated[RisingEpochs, Field(min_length=1)]
    """Numbers of epochs after which the learning rate drops."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What the learning rate is multiplied with at each."""
    floor: NonNegativeFloat = 0.0
    """Lowest learning rate."""


class Exponential(Section):
    """The same factor for every epoch."""

    method: Literal["exponential"]
    """learning_rate times factor ** epochs."""
    factor: Annotated[float, Field(gt=0, le=1)] = 0.9
    """What the learning rate is multiplied with in an epoch."""
    per: Unit = "epoch"
    """Change with every epoch, or, by the root of the factor, with every step."""
    floor: NonNegativeFloat = 0.0
    """Lowest learning rate."""


class Constant(Section):
    """No change, after the warm-up."""

    method: Literal["constant"]
    """learning_rate."""

    @property
    def floor(self) -> float:
        """Lowest learning rate, as of the other schedules."""
        return 0.0


AnySchedule = OneCycle | Polynomial | Cosine | Steps | MultiStep | Exponential | Constant
ScheduleConfig = Annotated[AnySchedule, Field(discriminator="method")]
# Schedules that look otherwise, from the first step on, when `epochs` is another number.
SHAPED_BY_LENGTH = ("one_cycle", "polynomial", "cosine")


class WarmupConfig(Section):
    """Length of the linear rise of the learning rate, in epochs or in steps."""

    epochs: NonNegativeInt | None = None
    """Epochs; a schedule that changes with epochs then rises with epochs too, as in InnerEye."""
    steps: NonNegativeInt | None = None
    """Steps."""

    @model_validator(mode="after")
    def _one_of_two(self) -> WarmupConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, one of the two")
        return self
