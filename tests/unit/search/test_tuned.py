"""What is pasted into config.yaml is the best trial, whatever was searched of which model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from crossfold.config.inheritance import resolve
from crossfold.config.models import ModelConfig
from crossfold.config.planning import ModelPlan, planned
from crossfold.config.trials import drawn_model
from crossfold.search.table import COMPLETE, FAILED, value_text
from crossfold.search.tuned import snippet

LAB = {"dataset": "ct", "images": ["ct"], "structures": ["left", "right"]}
SETTINGS = {"preprocessing", "network", "training", "inference", "postprocessing"}
UNET, UNET3D = (f"crossfold.learning.networks.{name}" for name in ("UNet", "UNet3D"))
CHOSEN = {"choice": [1, 2]}
SGD = {"method": "sgd", "momentum": 0.99, "nesterov": True}


def trials_of(values: dict[str, Any], status: str = COMPLETE) -> pd.DataFrame:
    parameters = {key: value_text(value) for key, value in values.items()}
    return pd.DataFrame([{"trial": 3, "round": 0, "status": status, "mean": 0.9, **parameters}])


def pasted(raw: dict[str, Any], text: str) -> ModelConfig:
    models = {"Lab": raw, **yaml.safe_load(text)["models"]}
    return ModelConfig.model_validate(resolve("LabTuned", models))


def settings(model: ModelConfig) -> dict[str, Any]:
    return model.model_dump(
        mode="json", by_alias=True, include=SETTINGS, exclude={"training": {"checkpoints"}}
    )


@pytest.mark.parametrize(
    ("written", "search", "values"),
    [
        ({}, {"learning_rate": CHOSEN}, {"training.learning_rate": 0.002}),
        (
            {"training": {"augmentation": {"mirror_axes": ["x"], "elastic_mm": 4}}},
            {"augmentation": CHOSEN},
            {"training.augmentation": {"gamma": 0.2}},
        ),
        (
            {"training": {"augmentation": [{"method": "mirror", "axes": ["x"]}]}},
            {"augmentation": CHOSEN},
            {"training.augmentation": {"gamma": 0.2}},
        ),
        (
            {"training": {"optimiser": SGD}},
            {"optimiser": CHOSEN},
            {"training.optimiser": {"method": "sgd"}},
        ),
        (
            {"training": {"optimiser": SGD}},
            {"optimiser.method": CHOSEN},
            {"training.optimiser.method": "adamw"},
        ),
        (
            {"training": {"warmup": {"epochs": 3}}},
            {"warmup": CHOSEN},
            {"training.warmup": {"steps": 10}},
        ),
        (
            {
                "training": {"epochs": 40, "checkpoints": {"first": 20, "every": 10}},
                "test_epochs": [20],
            },
            {"training.epochs": CHOSEN},
            {"training.epochs": 10},
        ),
        (
            {"training": {"epochs": 40, "extended_from": [20]}},
            {"training.epochs": CHOSEN},
            {"training.epochs": 10},
        ),
        (
            {"network": {"channels": [4, 8]}},
            {"network._target_": CHOSEN},
            {"network._target_": UNET3D},
        ),
        (
            {},
            {"convolutions": CHOSEN, "network._target_": CHOSEN},
            {"network._target_": UNET3D},
        ),
        (
            {"network": {"_target_": UNET, "channels": [4, 8]}},
            {"network": CHOSEN},
            {"network": {"_target_": UNET, "convolutions": 1}},
        ),
    ],
)
def test_a_pasted_model_trains_what_the_trial_did(
    written: dict[str, Any], search: dict[str, Any], values: dict[str, Any]
) -> None:
    raw = LAB | written
    model = ModelConfig.model_validate(raw)
    drawn = drawn_model(model, values)
    searched = model.model_copy(update={"search": None})
    text = snippet("Lab", searched, trials_of(values))
    assert settings(pasted(raw, text)) == settings(drawn)
    assert settings(drawn) != settings(model)


def test_it_says_what_differs_from_its_base_and_nothing_else() -> None:
    search = {"learning_rate": {"uniform": [0, 1]}, "overlap": {"uniform": [0, 0.5]}, "epochs": 5}
    model = ModelConfig.model_validate(LAB | {"search": search, "training": {"epochs": 40}})
    trials = trials_of({"training.learning_rate": 0.01, "inference.overlap": 0.25})
    assert snippet("Lab", model, trials).splitlines() == [
        "# Trial 3 of results/Lab/search.csv: 0.9000",
        "# Its trials had 5 epochs; this model has 40.",
        "# Compare it with Lab on the test set: statistics: {primary_split: test}",
        "models:",
        "  LabTuned:",
        "    base: Lab",
        "    search: null",
        "    training: {learning_rate: 0.01}",
        "    inference: {overlap: 0.25}",
    ]


def test_what_was_planned_is_not_planned_again(tmp_path: Path) -> None:
    values = {
        "preprocessing.spacing_mm": [1, 1, 2],
        "network.channels": [16, 32],
        "training.patch_size": [32, 32, 16],
        "training.learning_rate": 0.01,
    }
    plan = ModelPlan(values={key: {"value": value, "reason": ""} for key, value in values.items()})
    (tmp_path / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
    raw = LAB | {"plan": "auto", "training": {"epochs": 30}}
    model = ModelConfig.model_validate(raw)
    drawn = drawn_model(
        planned(model, tmp_path / "plan.json"), {"training.patch_size": [16, 16, 16]}
    )
    text = snippet(
        "Lab",
        model,
        trials_of({"training.patch_size": [16, 16, 16]}),
        plan_json=tmp_path / "plan.json",
    )
    tuned = pasted(raw, text)
    assert tuned.plan is None
    assert settings(tuned) == settings(drawn)
    assert tuned.training.learning_rate == 0.01


def test_without_a_trial_that_ended_there_is_nothing_to_paste() -> None:
    model = ModelConfig.model_validate(LAB)
    assert snippet("Lab", model, trials_of({}, FAILED)).startswith("# No trial of Lab has ended")
