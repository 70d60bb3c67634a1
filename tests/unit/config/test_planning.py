from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from crossfold.config.models import ModelConfig
from crossfold.config.planning import BudgetConfig, ModelPlan, planned, written_keys
from crossfold.config.shown import show_model
from crossfold.errors import CrossfoldError

MODEL: dict[str, Any] = {
    "dataset": "ct",
    "images": ["ct"],
    "structures": ["femur_r", "femur_l"],
    "plan": "auto",
    "training": {"learning_rate": 0.004, "augmentation": {"gain": 0.3}},
}
VALUES = {
    "preprocessing.spacing_mm": [2.0, 2.0, None],
    "preprocessing.normalisation": {"method": "ct_window", "level": 40.0, "window": 400.0},
    "network.channels": [16, 32, 64],
    "training.patch_size": [32, 32, 16],
    "training.learning_rate": 0.008,
    "training.augmentation.gain": 0.1,
    "training.augmentation.mirror_pairs": [["femur_r", "femur_l"]],
    "inference.window": "image",
    "postprocessing.largest_component": ["femur_r"],
}


@pytest.fixture
def plan_json(tmp_path: Path) -> Path:
    values = {key: {"value": value, "reason": f"of {key}"} for key, value in VALUES.items()}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"values": values}))
    return path


def test_without_a_plan_a_model_stays_as_it_is() -> None:
    model = ModelConfig.model_validate(MODEL)
    assert planned(model, None) is model
    assert ModelPlan.read([]).fill("training", {"epochs": 3}) == {"epochs": 3}


def test_a_plan_fills_what_is_not_written_and_nothing_else(plan_json: Path) -> None:
    model = planned(ModelConfig.model_validate(MODEL), plan_json)
    assert model.preprocessing.spacing_mm == (2, 2, None)
    assert model.preprocessing.normalisation.window == 400
    assert model.network.arguments == {"channels": [16, 32, 64]}
    assert model.training.patch_size == (32, 32, 16)
    assert model.training.learning_rate == 0.004
    assert model.training.augmentation.gain == 0.3
    assert model.training.augmentation.mirror_pairs == (("femur_r", "femur_l"),)
    assert model.training.epochs == ModelConfig.model_validate(MODEL).training.epochs
    assert model.inference.window == "image"
    assert model.postprocessing.largest_component == ("femur_r",)
    assert model.structures == ("femur_r", "femur_l")


def test_what_is_written_wins_as_a_whole(plan_json: Path) -> None:
    own = MODEL | {
        "preprocessing": {"normalisation": {"method": "z_score"}},
        "postprocessing": {"largest_component": []},
    }
    model = planned(ModelConfig.model_validate(own), plan_json)
    assert model.preprocessing.normalisation.method == "z_score"
    assert model.postprocessing.largest_component == ()
    # In place of a section stands something else: keys of the section have no place in it.
    assert ModelPlan.read(plan_json).fill("training", {"augmentation": []})["augmentation"] == []


def test_filling_leaves_what_it_was_given_alone(plan_json: Path) -> None:
    written = {"augmentation": {"gain": 0.3}}
    ModelPlan.read(plan_json).fill("training", written)
    assert written == {"augmentation": {"gain": 0.3}}


def test_only_what_is_written_is_a_parameter_of_a_planned_model() -> None:
    model = ModelConfig.model_validate(MODEL)
    assert written_keys(model.training) == MODEL["training"]
    assert written_keys(model.preprocessing) == {}


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', '{"values": {"a": 1}}'])
def test_a_damaged_plan_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(CrossfoldError, match=r"(?s)plan\.json.*delete it"):
        ModelPlan.read(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": {"_target_": "monai.networks.nets.DynUNet"}}, r"not monai.*leave out"),
        ({"plan": "manual"}, "auto"),
        ({"budget": {"minutes": 0}}, "greater than 0"),
        ({"budget": {"hours": 1}}, "unknown key"),
    ],
)
def test_what_cannot_be_planned_is_said_before_anything_runs(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate(MODEL | changed)


def test_a_budget_is_counted_in_operations() -> None:
    assert BudgetConfig(minutes=1, gflops=2).operations == 120e9
    assert BudgetConfig(device="gpu").operations > 10 * BudgetConfig().operations


def test_a_model_is_shown_with_the_reasons_of_its_plan(
    plan_json: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("planned.yaml").write_text(
        json.dumps(
            {"datasets": {"ct": {"source": "phantom", "subjects": 8}}, "models": {"Mine": MODEL}}
        )
    )
    before = "\n".join(show_model("Mine", [Path("planned.yaml")]))
    Path("results/Mine").mkdir(parents=True)
    plan_json.rename("results/Mine/plan.json")
    after = "\n".join(show_model("Mine", [Path("planned.yaml")]))
    assert "plan.json" not in before
    assert "spacing_mm: [2.0, 2.0, null]" in after
    assert "# plan.json: of preprocessing.spacing_mm" in after
    assert "# plan.json: of preprocessing.normalisation" in after
    assert "learning_rate: 0.004" in after
    assert "of training.learning_rate" not in after
