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
        (
            {"postprocessing": {"largest_component": [["bot", 0.1]]}},
            "postprocessing.largest_component: unknown name `bot`",
        ),
        (
            {"postprocessing": {"largest_component": [["both", 0.6]]}},
            "less than or equal to 0.5",
        ),
        ({"postprocessing": {"fill_holes": ["lef"]}}, "postprocessing.fill_holes: unknown name"),
        ({"postprocessing": {"smoothing_mm": -1}}, "greater than or equal to 0"),
        (
            {
                "postprocessing": {
                    "slice_exclusion": [{"higher": "both", "lower": "left", "keep": "lower"}]
                }
            },
            "postprocessing.slice_exclusion: unknown name `both`",
        ),
        (
            {
                "postprocessing": {
                    "slice_exclusion": [{"higher": "left", "lower": "left", "keep": "lower"}]
                }
            },
            "are both left; name two structures",
        ),
        (
            {
                "postprocessing": {
                    "summed_probability": [
                        {"first": "left", "second": "right", "external": "outside"}
                    ]
                }
            },
            "postprocessing.summed_probability: unknown name `outside`",
        ),
        (
            {
                "postprocessing": {
                    "summed_probability": [{"first": "left", "second": "left", "external": "right"}]
                }
            },
            "are not three different names",
        ),
        ({"ensemble_aggregation": "mean"}, "'average', 'log_average', 'majority_vote' or 'staple'"),
        (
            {"test_epochs": [30], "training": {"epochs": 60, "checkpoints": {"every": 20}}},
            "no checkpoint of epoch 30 is kept, only of 20, 40, 60",
        ),
        ({"metrics": {"nsd_tolerance_mm": {"up": 1}}}, "metrics.nsd_tolerance_mm: unknown name"),
        ({"training": {"augmentation": {"mirror_pairs": [["left", "wrong"]]}}}, "mirror_pairs"),
        (
            {"preprocessing": {"normalisation": {"ct": {"method": "z_score"}}}},
            "preprocessing.normalisation: unknown name `mr`",
        ),
        ({"preprocessing": {"spacing_mm": [1, 2]}}, "spacing_mm needs three values, not 2"),
        (
            {"preprocessing": {"normalisation": {"method": "percentile", "percentiles": [9, 1]}}},
            "have to rise, not 9, 1; write them from small to large, each once",
        ),
        (
            {"training": {"augmentation": [{"method": "blur", "sigma_voxels": [2, 1]}]}},
            "have to be in order, not 2, 1; write them from small to large",
        ),
        ({"network": {"_target_": "UNet"}}, "has to be an import path"),
    ],
)
def test_sections_have_to_agree(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        ModelConfig(**{**MODEL, **change})
    assert message in str(raised.value)


def test_no_more_structures_than_bytes_can_tell_apart() -> None:
    names = [f"s{number}" for number in range(256)]
    with pytest.raises(ValidationError, match=r"structures: 256 of them.* at most 255"):
        ModelConfig(dataset="ct", images=["ct"], structures=names)


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
    training = {"epochs": 10, "checkpoints": {"every": every}}
    assert ModelConfig(**MODEL, training=training).training.checkpoint_epochs == kept


def test_derived_structures_are_unions_of_labels() -> None:
    model = ModelConfig(**MODEL)
    values = label_values(model.structures, model.derived_structures)
    assert values == {"left": (1,), "right": (2,), "both": (1, 2)}


def test_the_last_epoch_is_always_tested_with_the_others() -> None:
    training = {"epochs": 60, "checkpoints": {"every": 20}}
    model = ModelConfig(**MODEL, training=training, test_epochs=[40, 20])
    assert model.tested_epochs == [20, 40, 60]
    assert ModelConfig(**MODEL, training=training).tested_epochs == [60]


def test_the_background_may_surround_two_structures() -> None:
    rule = {"first": "left", "second": "right", "external": "background"}
    section = {"summed_probability": [rule]}
    assert ModelConfig(**MODEL, postprocessing=section).postprocessing.summed_probability


def test_folds_get_nothing_that_is_still_to_be_decided() -> None:
    section = {"largest_component": ["both"], "fill_holes": ["left"]}
    for decide, expected in ((False, ("both",)), (True, ())):
        model = ModelConfig(**MODEL, postprocessing={**section, "decide": decide})
        assert model.postprocessing.applied_to_folds.largest_component == expected


def test_all_stands_for_every_structure_that_is_not_named() -> None:
    def kept(model: dict[str, Any], *components: Any) -> tuple[Any, ...]:
        section = {"largest_component": components}
        return ModelConfig(**model, postprocessing=section).postprocessing.largest_component

    assert kept(MODEL, "all") == ("left", "right")
    assert kept(MODEL, ["right", 0.2], "all") == (("right", 0.2), "left")
    assert kept(MODEL, ["all", 0.2], "both") == (("left", 0.2), ("right", 0.2), "both")
    named = MODEL | {"derived_structures": {"all": ["left", "right"]}}
    assert kept(named, "all") == ("all",)


def test_pairs_of_mirror_images_are_structures() -> None:
    def pairs(*names: str) -> Any:
        augmentation = [{"method": "noise"}, {"method": "mirror", "pairs": [names]}]
        return ModelConfig(**MODEL, training={"augmentation": augmentation}).training.mirror_pairs

    assert pairs("left", "right") == (("left", "right"),)
    with pytest.raises(ValidationError, match=r"mirror_pairs.*unknown name `rigth`"):
        pairs("left", "rigth")
