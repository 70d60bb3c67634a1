from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import lr_scheduler

from crossfold.config.learning import TrainingConfig
from crossfold.errors import CrossfoldError
from crossfold.learning.optimisation import Optimisation, learning_rate

PER_EPOCH = 4


def section(**training: Any) -> TrainingConfig:
    given = {"epochs": 10, "iterations_per_epoch": PER_EPOCH, "learning_rate": 0.1}
    return TrainingConfig(**{**given, **training})


def rates(config: TrainingConfig) -> list[float]:
    return [learning_rate(config, step) for step in range(config.iterations)]


def by_epoch(**training: Any) -> list[float]:
    """Rate of each epoch, in which it has to be the same."""
    steps = torch.tensor(rates(section(**training)), dtype=torch.float64).reshape(-1, PER_EPOCH)
    assert (steps == steps[:, :1]).all()
    return steps[:, 0].tolist()


def of_torch(make: Any, steps: int) -> list[float]:
    weights = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weights], lr=0.1)
    scheduler, seen = make(optimiser), []
    for _ in range(steps):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (
            {"method": "polynomial", "power": 0.9},
            lambda optimiser: lr_scheduler.PolynomialLR(optimiser, 10, power=0.9),
        ),
        (
            {"method": "cosine", "floor": 0.01},
            lambda optimiser: lr_scheduler.CosineAnnealingLR(optimiser, 10, eta_min=0.01),
        ),
        (
            {"method": "step", "every": 3, "factor": 0.5},
            lambda optimiser: lr_scheduler.StepLR(optimiser, 3, gamma=0.5),
        ),
        (
            {"method": "multi_step", "milestones": [2, 7], "factor": 0.2},
            lambda optimiser: lr_scheduler.MultiStepLR(optimiser, [2, 7], gamma=0.2),
        ),
        (
            {"method": "exponential", "factor": 0.8},
            lambda optimiser: lr_scheduler.ExponentialLR(optimiser, 0.8),
        ),
        (
            {"method": "constant"},
            lambda optimiser: lr_scheduler.ConstantLR(optimiser, factor=1),
        ),
    ],
)
def test_schedules_are_those_of_torch(schedule: dict[str, Any], make: Any) -> None:
    assert by_epoch(schedule=schedule) == pytest.approx(of_torch(make, 10), rel=1e-12)


@pytest.mark.parametrize("method", ["polynomial", "cosine"])
def test_schedules_can_change_with_every_step(method: str) -> None:
    def make(optimiser: torch.optim.Optimizer) -> Any:
        if method == "polynomial":
            return lr_scheduler.PolynomialLR(optimiser, 40, power=0.9)
        return lr_scheduler.CosineAnnealingLR(optimiser, 40)

    config = section(schedule={"method": method, "per": "step"})
    assert rates(config) == pytest.approx(of_torch(make, 40), rel=1e-9)


def test_one_cycle_by_hand() -> None:
    """15 % of 40 steps are 6; the peak is at the last of them and at the first of the fall."""
    values = rates(section())
    assert values[:7] == pytest.approx([0.1 / 6 * n for n in (1, 2, 3, 4, 5, 6)] + [0.1])
    assert values[6 + 17] == pytest.approx(0.05)  # half of the 34 steps of the fall
    assert values[-1] == pytest.approx(0.05 * (1 + math.cos(math.pi * 33 / 34)))
    floored = rates(section(schedule={"method": "one_cycle", "floor": 0.02}))
    assert floored[0] == 0.02
    assert floored[6 + 17] == pytest.approx(0.06)


def test_polynomial_by_hand() -> None:
    """InnerEye: l_rate [(1 - x) (1 - e / E) ** gamma + x], x = min / l_rate."""
    schedule = {"method": "polynomial", "power": 2, "floor": 0.01}
    expected = [0.1 * (0.9 * (1 - e / 10) ** 2 + 0.1) for e in range(10)]
    assert by_epoch(schedule=schedule) == pytest.approx(expected)


def test_a_warm_up_in_epochs_is_that_of_innereye() -> None:
    """l_rate (e + 1) / (W + 1) for W epochs; then the schedule, over the epochs that are left."""
    warm = by_epoch(schedule={"method": "cosine"}, warmup={"epochs": 3})
    assert warm[:3] == pytest.approx([0.025, 0.05, 0.075])
    assert warm[3:] == pytest.approx(by_epoch(schedule={"method": "cosine"}, epochs=7))


@pytest.mark.parametrize("warmup", [0.15, {"steps": 6}])
def test_a_warm_up_in_steps_rises_with_every_step(warmup: Any) -> None:
    values = rates(section(schedule={"method": "constant"}, warmup=warmup))
    assert values[:6] == pytest.approx([0.1 * n / 7 for n in (1, 2, 3, 4, 5, 6)])
    assert values[6:] == [0.1] * 34
    # A schedule by epoch then counts its epochs from the end of the warm-up.
    values = rates(section(schedule={"method": "step", "every": 1}, warmup=warmup))
    assert values[6:15] == pytest.approx([0.1] * 4 + [0.01] * 4 + [0.001])


@pytest.mark.parametrize("schedule", [{"method": "step", "every": 1}, {"method": "exponential"}])
def test_no_rate_is_below_the_floor(schedule: dict[str, Any]) -> None:
    values = rates(section(schedule={**schedule, "floor": 0.05}, warmup={"epochs": 3}))
    assert min(values) == 0.05
    assert max(values) == 0.1


@given(
    method=st.sampled_from(["one_cycle", "polynomial", "cosine", "exponential", "constant"]),
    epochs=st.integers(1, 12),
    warmup=st.one_of(st.none(), st.floats(0, 0.8)),
    floor=st.floats(0, 0.1),
)
def test_a_rate_rises_once_and_then_only_falls(
    method: str, epochs: int, warmup: float | None, floor: float
) -> None:
    schedule = {"method": method} | ({} if method == "constant" else {"floor": floor})
    config = section(epochs=epochs, schedule=schedule, warmup=warmup)
    values = rates(config)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert 0 <= min(values) <= max(values) <= 0.1 + 1e-12
    assert method == "constant" or min(values) >= floor


def test_steps_of_an_extended_training_keep_the_rates_that_they_had() -> None:
    for method in ("one_cycle", "polynomial", "cosine"):
        schedule = {"method": method}
        short, long = section(epochs=4, schedule=schedule), section(epochs=9, schedule=schedule)
        extended = section(epochs=9, schedule=schedule, extended_from=[4])
        assert rates(extended) == rates(short) + rates(long)[4 * PER_EPOCH :]
        assert extended.depends_on_length
    assert not section(schedule={"method": "exponential"}, warmup={"epochs": 2}).depends_on_length
    assert section(schedule={"method": "exponential"}, warmup=0.1).depends_on_length
    assert section(schedule={"method": "constant"}, half_resolution=0.4).depends_on_length


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def trained(steps: int = 5, **training: Any) -> Tensor:
    """Weights after some steps on the same target, with a constant learning rate of 0.1."""
    model = network()
    constant: dict[str, Any] = {"schedule": {"method": "constant"}, "gradient_clip": 1e9}
    optimisation = Optimisation(model, section(**constant, **training), torch.device("cpu"))
    for step in range(steps):
        optimisation.step(loss_of(model), step)
    return model.weight.detach()


def loss_of(model: nn.Linear) -> Tensor:
    inputs = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]])
    return (model(inputs) - torch.tensor([[1.0, 0.0], [0.0, 2.0]])).square().mean()


def trained_by_torch(make: Any, steps: int = 5) -> Tensor:
    model = network()
    optimiser = make(model.parameters())
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(model).backward()
        optimiser.step()
    return model.weight.detach()


@pytest.mark.parametrize(
    ("optimiser", "make"),
    [
        ({"method": "adamw"}, lambda w: torch.optim.AdamW(w, 0.1, (0.9, 0.99), weight_decay=0.3)),
        (
            {"method": "adam", "eps": 1e-4},
            lambda w: torch.optim.Adam(w, 0.1, eps=1e-4, weight_decay=0.3),
        ),
        (
            {"method": "adam", "decoupled": True},
            lambda w: torch.optim.AdamW(w, 0.1, weight_decay=0.3),
        ),
        (
            {"method": "amsgrad", "betas": [0.5, 0.6]},
            lambda w: torch.optim.Adam(w, 0.1, (0.5, 0.6), weight_decay=0.3, amsgrad=True),
        ),
        (
            {"method": "sgd", "momentum": 0.6, "nesterov": True},
            lambda w: torch.optim.SGD(w, 0.1, momentum=0.6, nesterov=True, weight_decay=0.3),
        ),
        (
            {"method": "rmsprop", "alpha": 0.9, "momentum": 0.6},
            lambda w: torch.optim.RMSprop(w, 0.1, alpha=0.9, momentum=0.6, weight_decay=0.3),
        ),
    ],
)
def test_optimisers_are_those_of_torch(optimiser: dict[str, Any], make: Any) -> None:
    weights = trained(optimiser=optimiser, weight_decay=0.3)
    torch.testing.assert_close(weights, trained_by_torch(make))


def test_decoupled_weight_decay_by_hand() -> None:
    """Weights shrink by 1 - rate * decay, then take the step that they would take without."""
    start, model = network().weight.detach(), network()
    [gradient, _] = torch.autograd.grad(loss_of(model), list(model.parameters()))
    optimiser = {"method": "sgd", "momentum": 0.0, "decoupled": True}
    weights = trained(1, optimiser=optimiser, weight_decay=0.3)
    torch.testing.assert_close(weights, start * (1 - 0.1 * 0.3) - 0.1 * gradient)
    # Coupled, the penalty is a part of the gradient; with plain SGD that is the same.
    coupled = trained(1, optimiser={**optimiser, "decoupled": False}, weight_decay=0.3)
    torch.testing.assert_close(weights, coupled)
    optimiser = {"method": "rmsprop", "decoupled": True}
    shrunk = trained(1, optimiser=optimiser, weight_decay=0.3) - start * (1 - 0.1 * 0.3)
    torch.testing.assert_close(shrunk, trained(1, optimiser=optimiser, weight_decay=0) - start)


@pytest.mark.parametrize("method", ["adamw", "sgd", "rmsprop"])
def test_the_moving_average_follows_every_optimiser(method: str) -> None:
    config = section(ema_decay=0.9, optimiser={"method": method})
    model = network()
    optimisation = Optimisation(model, config, torch.device("cpu"))
    start = model.weight.detach().clone()
    optimisation.step(loss_of(model), 0)
    weight = 1 - 2 / 11  # after one step: (1 + 1) / (10 + 1) of the old one stay
    expected = start + weight * (model.weight.detach() - start)
    assert optimisation.average is not None
    torch.testing.assert_close(optimisation.average.weight, nn.Parameter(expected))


def test_fp16_scales_the_loss_and_leaves_out_what_overflows() -> None:
    model = network()
    config = section(precision="fp16", schedule={"method": "constant"})
    optimisation = Optimisation(model, config, torch.device("cpu"))
    start, scale = model.weight.detach().clone(), optimisation.scaler.get_scale()
    assert scale > 1
    assert not optimisation.step(1e36 * loss_of(model), 0)  # not finite, once it is scaled
    assert torch.equal(model.weight.detach(), start)
    assert optimisation.scaler.get_scale() == scale / 2
    assert optimisation.step(loss_of(model), 1)

    # What goes on from its state has the scale too, and takes the same step.
    other = Optimisation(network(), config, torch.device("cpu"))
    other.load_state_dict(copy.deepcopy(optimisation.state_dict()))
    assert other.scaler.get_scale() == scale / 2
    optimisation.step(loss_of(model), 2)
    other.step(loss_of(other.network), 2)  # type: ignore[arg-type]
    assert torch.equal(other.network.weight, model.weight)  # type: ignore[arg-type]


def test_too_many_gradients_in_a_row_that_are_not_finite_end_the_training() -> None:
    model = network()
    optimisation = Optimisation(model, section(), torch.device("cpu"))
    for step in range(19):
        assert not optimisation.step(loss_of(model) * torch.inf, step)
    with pytest.raises(CrossfoldError, match="20 gradients in a row"):
        optimisation.step(loss_of(model) * torch.inf, 19)
    assert optimisation.taken == 0
