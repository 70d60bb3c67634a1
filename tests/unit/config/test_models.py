from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crossfold.config.labels import label_values
from crossfold.config.models import ModelConfig

MODEL: dict[str, Any] = {
    "dataset": "ct",
    "images": ["ct", "mr"],
    "structures": ["left", "right"],
    "derived_structures": {"both": ["left", "right"]},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structures": ["left", "left"]}, "named more than once: left"),
        ({"structures": []}, "at least 1 item"),
        ({"structures": ["left", "right", "ct"]}, "both an image and a structure: ct"),
        ({"derived_structures": {"left": ["right"]}}, "`left` is already a structure"),
        ({"derived_structures": {"all": ["lef"]}}, "derived_structures.all: unknown name `lef`"),
        ({"postprocessing": {"largest_component": ["bot"]}}, "did you mean `both`?"),
        ({"metrics": {"nsd_tolerance_mm": {"up": 1}}}, "metrics.nsd_tolerance_mm: unknown name"),
        ({"training": {"augmentation": {"mirror_pairs": [["left", "wrong"]]}}}, "mirror_pairs"),
        (
            {"preprocessing": {"normalisation": {"ct": {"method": "z_score"}}}},
            "preprocessing.normalisation: unknown name `mr`",
        ),
        ({"preprocessing": {"spacing_mm": [1, 2]}}, "spacing_mm needs three values, not 2"),
        (
            {"preprocessing": {"normalisation": {"method": "percentile", "percentiles": [9, 1]}}},
            "the first percentile has to be below the second",
        ),
        ({"network": {"_target_": "UNet"}}, "has to be an import path"),
    ],
)
def test_sections_have_to_agree(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ModelConfig(**{**MODEL, **change})
    assert message in str(raised.value)


def test_a_model_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig(**MODEL).images = ("pet",)  # type: ignore[misc]  # it is the test


def test_keys_of_the_network_are_its_arguments() -> None:
    network = ModelConfig(**MODEL, network={"_target_": "a.Net", "depth": 3}).network
    assert (network.target, network.arguments) == ("a.Net", {"depth": 3})


@pytest.mark.parametrize(
    ("every", "kept"), [(None, [10]), (4, [4, 8, 10]), (5, [5, 10]), (20, [10])]
)
def test_the_last_checkpoint_is_always_kept(every: int | None, kept: list[int]) -> None:
    training = {"epochs": 10, "checkpoint_every": every}
    assert ModelConfig(**MODEL, training=training).training.checkpoint_epochs == kept


def test_derived_structures_are_unions_of_labels() -> None:
    model = ModelConfig(**MODEL)
    values = label_values(model.structures, model.derived_structures)
    assert values == {"left": (1,), "right": (2,), "both": (1, 2)}
