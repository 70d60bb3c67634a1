"""Optimisers, learning rates, scaled losses and the moving average of weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from crossfold.config.learning import TrainingConfig
from crossfold.config.optimisation import (
    Adam,
    AdamW,
    AnySchedule,
    Constant,
    Cosine,
    Exponential,
    MultiStep,
    OneCycle,
    Polynomial,
    RmsProp,
    Sgd,
    Steps,
    WarmupConfig,
)
from crossfold.errors import CrossfoldError
from crossfold.learning.checkpoints import distinct_tensors

# A step is left out when its gradient is not finite; this many in a row end the training.
MOST_SKIPPED_STEPS = 20


class DivergedError(CrossfoldError):
    """A training whose loss or gradient is no longer a number."""


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the learning rate of a step, which depends on nothing but its number.

    After the warm-up, t counts epochs or steps from its end, and T are those that are left then:
    `polynomial` (without a floor), `cosine`, `step`, `multi_step` and `exponential` are those of
    torch.optim.lr_scheduler. `one_cycle` is torch's OneCycleLR in its idea, not in its numbers: it
    starts at 0 and reaches its peak with the last step of the rise.

    Parameters
    ----------
    config
        Section `training`. Of one that was extended, each step has the rate of the training that
        it was taken in: shapes that depend on the number of epochs follow that of their time.
    step
        Counted from 0.
    """
    peak, total = config.learning_rate, config.planned_iterations(step)
    rise = config.warmup_steps(total)
    if isinstance(config.schedule, OneCycle):
        return _one_cycle(step, max(1, rise), total, peak, config.schedule.floor)
    per = 1 if getattr(config.schedule, "per", "epoch") == "step" else config.iterations_per_epoch
    if step < rise:
        in_epochs = isinstance(config.warmup, WarmupConfig) and config.warmup.epochs is not None
        unit = per if in_epochs else 1
        # As in InnerEye: the first step is above 0, and the peak comes with the schedule.
        return max(config.schedule.floor, peak * (step // unit + 1) / (rise // unit + 1))
    done, left = (step - rise) // per, math.ceil((total - rise) / per)
    return max(
        config.schedule.floor,
        _decayed(config.schedule, done, left, peak, steps_per_epoch=config.iterations_per_epoch),
    )


def _one_cycle(step: int, rise: int, total: int, peak: float, floor: float) -> float:
    """One cycle (Smith 2018, arXiv 1803.09820): linear rise, cosine fall to the floor."""
    if step < rise:
        return max(floor, peak * (step + 1) / rise)
    fall = (step - rise) / max(1, total - rise)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * fall))


def _decayed(
    schedule: AnySchedule, done: int, left: int, peak: float, *, steps_per_epoch: int
) -> float:
    """Learning rate after `done` of `left` epochs or steps without the warm-up."""
    match schedule:
        case Polynomial(power=power, floor=floor):
            return floor + (peak - floor) * (1 - done / left) ** power
        case Cosine(floor=floor):
            return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done / left))
        case Steps(every=every, factor=factor):
            return peak * factor ** (done // every)
        case MultiStep(milestones=milestones, factor=factor):
            return peak * factor ** sum(done >= milestone for milestone in milestones)
        case Exponential(factor=factor, per=per):
            return peak * factor ** (done if per == "epoch" else done / steps_per_epoch)
        case Constant():
            return peak
    raise AssertionError(schedule)


def make_optimiser(network: nn.Module, config: TrainingConfig) -> Optimizer:
    """Return the optimiser of a configuration; weight decay that torch does not know is left out.

    Parameters
    ----------
    network
        Its weights are what is optimised.
    config
        Section `training`.
    """
    weights, rate, decay = network.parameters(), config.learning_rate, config.weight_decay
    match config.optimiser:
        case AdamW(betas=betas, eps=eps):
            return torch.optim.AdamW(
                weights, lr=rate, betas=betas, eps=eps, weight_decay=decay, fused=True
            )
        case Adam(method=method, betas=betas, eps=eps, decoupled=decoupled):
            return torch.optim.Adam(
                weights,
                lr=rate,
                betas=betas,
                eps=eps,
                weight_decay=decay,
                amsgrad=method == "amsgrad",
                decoupled_weight_decay=decoupled,
            )
        case Sgd(momentum=momentum, nesterov=nesterov, decoupled=decoupled):
            return torch.optim.SGD(
                weights,
                lr=rate,
                momentum=momentum,
                nesterov=nesterov,
                weight_decay=0.0 if decoupled else decay,
            )
        case RmsProp(alpha=alpha, eps=eps, momentum=momentum, decoupled=decoupled):
            return torch.optim.RMSprop(
                weights,
                lr=rate,
                alpha=alpha,
                eps=eps,
                momentum=momentum,
                weight_decay=0.0 if decoupled else decay,
            )


class Optimisation:
    """Takes steps: learning rate, loss scaling, clipping, moving average.

    Parameters
    ----------
    network
        What is trained.
    config
        Section `training`.
    device
        Where it is trained.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, device: torch.device) -> None:
        self.network, self.config = network, config
        self.average = copy.deepcopy(network) if config.ema_decay else None
        self.optimiser = make_optimiser(network, config)
        # Small gradients are zero in fp16; multiplied with a large number, they are not.
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self._shrinks = isinstance(config.optimiser, Sgd | RmsProp) and config.optimiser.decoupled
        self.taken = self.skipped_in_a_row = 0

    @property
    def result(self) -> nn.Module:
        """The network that is saved: the moving average where there is one."""
        return self.network if self.average is None else self.average

    def step(self, loss: Tensor, number: int) -> bool:
        """Take a step unless its gradient is not finite, which a broken kernel can make it.

        Parameters
        ----------
        loss
            Scalar.
        number
            Of the step, counted from 0.

        Returns
        -------
        bool
            Whether it was taken.

        Raises
        ------
        DivergedError
            If too many in a row were not.
        """
        rate = learning_rate(self.config, number)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(
            list(self.network.parameters()), self.config.gradient_clip
        )
        finite = bool(torch.isfinite(norm))
        if finite:
            if self._shrinks:
                self._shrink(rate)
            self.scaler.step(self.optimiser)
            self.taken += 1
            if self.average is not None:
                self._average_weights()
        self.scaler.update()
        self._count(finite)
        return finite

    def _count(self, finite: bool) -> None:
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        if self.skipped_in_a_row >= MOST_SKIPPED_STEPS:
            raise DivergedError(
                f"{MOST_SKIPPED_STEPS} gradients in a row are not finite",
                remedy="lower training.learning_rate, or set training.precision to fp32",
            )

    @torch.no_grad()
    def _shrink(self, rate: float) -> None:
        """Decoupled weight decay, as AdamW of torch does it."""
        for weights in self.network.parameters():
            weights.mul_(1 - rate * self.config.weight_decay)

    @torch.no_grad()
    def _average_weights(self) -> None:
        assert self.average is not None
        # Early weights are forgotten faster, or the average would start from noise.
        weight = 1 - min(self.config.ema_decay, (1 + self.taken) / (10 + self.taken))
        current = self.network.state_dict()
        # Once each: some networks of MONAI hold a layer under two names.
        for name, value in distinct_tensors(self.average).items():
            if value.is_floating_point():
                value.lerp_(current[name], weight)
            else:
                value.copy_(current[name])

    def state_dict(self) -> dict[str, Any]:
        """Return all that has to be saved to continue after the last step."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "taken": self.taken,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.network.load_state_dict(saved["network"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
        self.taken, self.skipped_in_a_row = saved["taken"], saved["skipped_in_a_row"]
