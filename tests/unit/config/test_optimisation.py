from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crossfold.config.learning import TrainingConfig
from crossfold.config.loading import load_config
from crossfold.errors import CrossfoldError

PHANTOM = {"ct": {"source": "phantom", "subjects": 5}}


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loss": {"method": "dice"}}, "loss.0: a loss needs a `method`"),
        ({"loss": {"method": "focal", "gama": 2}}, "gama: unknown key `gama`"),
        ({"loss": {"_target_": "DiceLoss"}}, "'DiceLoss'|has to be an import path"),
        ({"optimiser": {"method": "adamx"}}, "'adamx'"),
        ({"optimiser": {"method": "sgd", "alpha": 1}}, "unknown key `alpha`"),
        ({"optimiser": {"method": "sgd", "momentum": 0, "nesterov": True}}, "needs a momentum"),
        ({"schedule": {"method": "cosine", "floor": 1}}, "schedule.floor is 1, above"),
        ({"schedule": {"method": "step"}}, "every: missing"),
        ({"schedule": {"method": "multi_step", "milestones": [5, 5]}}, "have to rise, not 5, 5"),
        ({"schedule": {"method": "constant"}, "warmup": {"epochs": 60}}, "warmup: 1500 steps"),
        ({"warmup": {"epochs": 3, "steps": 3}}, "give epochs or steps, one of the two"),
        ({"epochs": 9, "extended_from": [9]}, "cannot have ended at 9 before"),
        ({"checkpoints": {"first": 10}}, "first without every keeps nothing"),
        ({"checkpoint_every": 10}, "did you mean `checkpoints`?"),
    ],
)
def test_what_makes_no_sense_is_refused(training: dict[str, Any], message: str) -> None:
    model = {"dataset": "ct", "images": ["ct"], "structures": ["a"], "training": training}
    with pytest.raises(CrossfoldError, match=message) as raised:
        load_config({"datasets": PHANTOM, "models": {"M": model}})
    assert "models.M.training" in str(raised.value)


def test_a_section_can_be_passed_on_as_plain_values() -> None:
    """As the parameters of a rule are."""
    config = TrainingConfig(
        loss=[
            {"_target_": "monai.losses.TverskyLoss", "alpha": 0.3, "share": 2},
            {"method": "focal"},
        ],
        optimiser={"method": "rmsprop"},
        schedule={"method": "multi_step", "milestones": [3, 5]},
        warmup={"steps": 7},
        checkpoints={"first": 10, "every": 5},
    )
    plain = config.model_dump(mode="json")
    assert TrainingConfig(**plain) == config
    assert plain["loss"][0]["_target_"] == "monai.losses.TverskyLoss"


def test_another_method_replaces_that_of_the_base() -> None:
    base = {"abstract": True, "training": {"schedule": {"method": "polynomial", "power": 2}}}
    model = {
        "base": "B",
        "dataset": "ct",
        "images": ["ct"],
        "structures": ["a"],
        "training": {"schedule": {"method": "cosine"}, "loss": {"method": "soft_dice"}},
    }
    config = load_config({"datasets": PHANTOM, "models": {"B": base, "M": model}})
    assert config.models["M"].training.schedule.method == "cosine"


@pytest.mark.parametrize(
    ("kept", "epochs"),
    [
        ({"every": 20}, [20, 40, 60, 80, 100, 110]),
        ({"first": 80, "every": 20}, [80, 100, 110]),
        ({"first": 70, "every": 20}, [80, 100, 110]),  # multiples, as in InnerEye
        ({}, [110]),
    ],
)
def test_epochs_that_are_kept(kept: dict[str, int], epochs: list[int]) -> None:
    assert TrainingConfig(epochs=110, checkpoints=kept).checkpoint_epochs == epochs


def test_the_usual_warm_up_belongs_to_one_cycle() -> None:
    assert TrainingConfig().warmup_steps(1500) == 225
    assert TrainingConfig(schedule={"method": "cosine"}).warmup_steps(1500) == 0
    assert TrainingConfig(warmup=0).warmup_steps(1500) == 0
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        TrainingConfig(warmup=2)
