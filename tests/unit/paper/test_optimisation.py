"""What is said about an optimisation has to follow what was configured."""

from __future__ import annotations

from typing import Any

import pytest

from crossfold.config.learning import TrainingConfig
from crossfold.paper.reporting.optimisation import balance, loss, optimisation


def section(**training: Any) -> dict[str, Any]:
    return TrainingConfig(**training).model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (
            {},
            "AdamW, one-cycle learning rate with peak 0.006, weight decay 0.01",
        ),
        (
            {
                "optimiser": {"method": "sgd", "momentum": 0.99, "nesterov": True},
                "schedule": {"method": "polynomial", "floor": 1e-5},
                "learning_rate": 0.01,
                "warmup": {"epochs": 5},
            },
            (
                "SGD (momentum 0.99, nesterov true), polynomial learning rate with first 0.01 and "
                "power 0.9 and per epoch and floor 1e-05 and warm-up of 5 epochs, "
                "weight decay 0.01"
            ),
        ),
        (
            {"warmup": 0.1, "extended_from": [20], "optimiser": {"method": "adamw", "eps": 1e-4}},
            (
                "AdamW (eps 0.0001), one-cycle learning rate with peak 0.006 and warm-up of 10 % "
                "of the steps and extended after 20 epochs, weight decay 0.01"
            ),
        ),
    ],
)
def test_the_optimisation_in_words(training: dict[str, Any], expected: str) -> None:
    assert optimisation(section(**training)) == f"{expected}, gradient clipped to 12"


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"cross_entropy": 0.2}, "0.2 cross-entropy + 0.8 soft Dice"),
        ({"loss": {"method": "focal", "gamma": 2, "rescaled": False}}, "focal loss (gamma 2)"),
        (
            {
                "loss": [
                    {"method": "focal", "share": 3, "class_weight_power": 0.2},
                    {"_target_": "monai.losses.TverskyLoss", "alpha": 0.3, "share": 1},
                ]
            },
            (
                "0.75 focal loss (class weight power 0.2, gamma 1, rescaled true) + "
                "0.25 monai.losses.TverskyLoss (alpha 0.3)"
            ),
        ),
    ],
)
def test_the_loss_in_words(training: dict[str, Any], expected: str) -> None:
    assert loss(section(**training)) == expected


def test_the_balance_of_structures_in_words() -> None:
    assert "soft Dice part" in balance(section())
    assert "soft Dice" not in balance(section(cross_entropy=1))
    focal = {"method": "focal", "class_weight_power": 0.5}
    assert balance(section(loss=focal)) == "classes of fewer voxels have more weight in the loss"
