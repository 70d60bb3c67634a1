from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crossfold.config.models import ModelConfig
from crossfold.config.search import SearchConfig, Space
from crossfold.config.trials import (
    UNET_ARGUMENTS,
    current_values,
    drawn_model,
    problem_of,
    spaces_of,
    trial_count,
)
from crossfold.learning.networks import UNet

RATE = {"log_uniform": [0.0005, 0.01]}
CHOICE = {"choice": [8, 16]}
KINDS: list[dict[str, Any]] = [{"method": "sgd"}, {"method": "adamw"}]


def model(search: dict[str, Any], **more: Any) -> ModelConfig:
    raw = {"dataset": "ct", "images": ["ct"], "structures": ["left", "right"], "search": search}
    return ModelConfig(**{**raw, "network": {"channels": [4, 8]}, **more})


def test_parameters_stand_beside_the_other_keys_or_below_their_own() -> None:
    beside = SearchConfig.model_validate({"learning_rate": RATE, "trials": 3, "prune": False})
    below = SearchConfig.model_validate(
        {"parameters": {"learning_rate": RATE}, "trials": 3, "prune": None}
    )
    assert beside == below
    assert SearchConfig.model_validate(beside.model_dump(mode="json")) == beside


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"trails": 3, "learning_rate": RATE}, "did you mean `trials`?"),
        ({"learning_rate": {"log_uniform": [0.01, 0.001]}}, "is no range"),
        ({"learning_rate": {"log_uniform": [0, 0.001]}}, "greater than 0"),
        ({"learning_rate": {**RATE, "uniform": [0, 1]}}, "one kind of values, not uniform and log"),
        ({"learning_rate": {"choice": [1, 1]}}, "names a value twice"),
        ({}, "Field required"),
        ({"lerning_rate": RATE}, "did you mean `learning_rate`?"),
        ({"training.lerning_rate": RATE}, "did you mean `training.learning_rate`?"),
        (
            {"method": {"choice": ["adam", "sgd"]}},
            "`method` may be training.schedule.method or training.optimiser.method",
        ),
        ({"spacing_mm": {"choice": [[1, 1, 1], [2, 2, 2]]}}, "share the same preprocessed images"),
        ({"seed": {"int_uniform": [0, 9]}}, "training.seed is no hyperparameter"),
        ({"every": {"int_uniform": [1, 9]}}, "training.checkpoints.every is no hyperparameter"),
        ({"learning_rate": RATE, "training.learning_rate": RATE}, "is named twice"),
        (
            {"optimiser": {"choice": KINDS}, "betas": {"choice": [[0.9, 0.9], [0.8, 0.9]]}},
            "training.optimiser.betas is a part of training.optimiser",
        ),
        ({"learning_rate": RATE, "folds": [5]}, "there is no fold 5; folds are 0 to 4"),
        ({"learning_rate": RATE, "folds": [0, 0]}, "a fold is named twice"),
        ({"learning_rate": RATE, "method": "grid"}, "add `steps`"),
        ({"learning_rate": {"uniform": [-2, -1]}}, "no value of it is valid; training.learning"),
        ({"learning_rate": {"choice": ["a", "b"]}}, "no value of it is valid"),
        (
            {"training.epochs": {"int_uniform": [5, 9]}, "epochs": 5},
            "epochs is fixed and searched",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        model(search)
    assert message in str(error.value)


def test_a_name_is_looked_for_in_training_first_and_near_the_top() -> None:
    searched = model(
        {
            "batch_size": {"choice": [2, 4]},
            "inference.batch_size": {"choice": [1, 2]},
            "schedule.floor": {"choice": [0, 0.0001]},
            "scaling": {"uniform": [0, 0.2]},
            "overlap": {"uniform": [0, 0.5]},
            "channels": {"choice": [[4, 8], [8, 16]]},
            "network.dropout": {"choice": [0, 0.1]},  # known to the network's own code only
        }
    )
    assert list(spaces_of(searched)) == [
        "inference.batch_size",
        "inference.overlap",
        "network.channels",
        "network.dropout",
        "training.augmentation.scaling",
        "training.batch_size",
        "training.schedule.floor",
    ]
    current = current_values(searched)
    assert current["network.channels"] == [4, 8]
    assert "network.dropout" not in current


def test_arguments_of_the_network_are_known_where_nothing_is_written_of_it() -> None:
    channels = {"channels": {"choice": [[4, 8], [8, 16]]}}
    searched = model(channels, network={})
    assert list(spaces_of(searched)) == ["network.channels"]
    assert current_values(searched) == {}
    assert drawn_model(searched, {"network.channels": [4, 8]}).network.arguments == {
        "channels": [4, 8]
    }
    assert [*inspect.signature(UNet).parameters] == ["in_channels", "out_channels", *UNET_ARGUMENTS]
    with pytest.raises(ValidationError, match="unknown key `channels`"):
        model(channels, network={"_target_": "my_lab.nets.MyNet"})


def test_a_drawn_model_has_the_values_and_nothing_else_new() -> None:
    searched = model(
        {"optimiser": {"choice": KINDS}, "learning_rate": RATE, "epochs": 7},
        training={"epochs": 20, "checkpoints": {"every": 5}, "batch_size": 4},
        test_epochs=[10],
    )
    values = {"training.optimiser": KINDS[0], "training.learning_rate": 0.002}
    drawn = drawn_model(searched, values, epochs=7)
    assert (drawn.training.optimiser.method, drawn.training.learning_rate) == ("sgd", 0.002)
    assert (drawn.training.epochs, drawn.training.batch_size) == (7, 4)
    assert drawn.training.checkpoint_epochs == [7]
    assert drawn_model(searched, {}).training.epochs == 20


def test_another_kind_is_told_nothing_that_was_meant_for_the_model() -> None:
    kinds = {"choice": ["adamw", "sgd", "rmsprop"]}
    networks = {"choice": ["monai.networks.nets.SegResNet", "crossfold.learning.networks:UNet"]}
    searched = model(
        {"optimiser.method": kinds, "network._target_": networks, "network.init_filters": CHOICE},
        training={"optimiser": {"method": "adamw", "betas": [0.9, 0.99]}},
    )
    for method in kinds["choice"]:
        assert not problem_of(searched, {"training.optimiser.method": method})
    drawn = drawn_model(searched, {"training.optimiser.method": "adamw"})
    assert drawn.training.optimiser.model_dump()["betas"] == (0.9, 0.99)
    # What is searched of the other kind is its own, whichever key stands first.
    values = {"network.init_filters": 8, "network._target_": networks["choice"][0]}
    assert drawn_model(searched, values).network.arguments == {"init_filters": 8}
    same = {"network._target_": networks["choice"][1]}
    assert drawn_model(searched, same).network.arguments == {"channels": [4, 8]}


def test_a_network_is_searched_as_a_whole() -> None:
    networks = [{"channels": [4, 8]}, {"_target_": "my_lab.nets.MyNet", "width": 3}]
    searched = model({"network": {"choice": networks}})
    assert drawn_model(searched, {"network": networks[1]}).network.arguments == {"width": 3}
    with pytest.raises(ValidationError, match=r"network\.channels is a part of network"):
        model({"network": {"choice": networks}, "channels": CHOICE})


def test_values_that_do_not_go_together_have_a_reason() -> None:
    searched = model({"learning_rate": RATE, "schedule.floor": {"choice": [0, 0.005]}})
    assert not problem_of(searched, {"training.schedule.floor": 0.005})
    both = {"training.schedule.floor": 0.005, "training.learning_rate": 0.001}
    assert "schedule.floor is 0.005, above learning_rate 0.001" in problem_of(searched, both)


def test_a_grid_has_no_more_trials_than_combinations() -> None:
    grid = {"learning_rate": {**RATE, "steps": 3}, "batch_size": {"choice": [1, 2]}}
    assert trial_count(model({**grid, "method": "grid"})) == 6
    assert trial_count(model({**grid, "method": "grid", "trials": 4})) == 4
    assert trial_count(model({**grid, "method": "random", "trials": 40})) == 40


@pytest.mark.parametrize(
    ("space", "values"),
    [
        ({"log_uniform": [0.001, 1], "steps": 4}, [0.001, 0.01, 0.1, 1.0]),
        ({"uniform": [0, 1], "steps": 3}, [0.0, 0.5, 1.0]),
        ({"int_uniform": [1, 3]}, [1, 2, 3]),
        ({"int_uniform": [1, 10], "steps": 4}, [1, 4, 7, 10]),
        ({"choice": ["a", None]}, ["a", None]),
    ],
)
def test_values_of_a_grid(space: dict[str, Any], values: list[Any]) -> None:
    assert Space(**space).grid() == values


@given(share=st.floats(0, 1, exclude_max=True), low=st.floats(1e-6, 1), factor=st.floats(1.01, 1e6))
def test_every_drawn_value_lies_between_the_ends(share: float, low: float, factor: float) -> None:
    for kind in ("uniform", "log_uniform"):
        space = Space(**{kind: (low, low * factor)})
        value = space.at(share)
        assert space.place(value) == value
    whole = Space(int_uniform=(-3, 5))
    assert whole.at(share) in range(-3, 6)
    assert isinstance(whole.at(share), int)


def test_a_narrow_range_far_from_zero_has_enough_values() -> None:
    shares = [place / 1000 for place in range(1000)]
    narrow = [Space(uniform=(0.999, 0.9999)), Space(uniform=(100_000, 100_050))]
    assert all(len({space.at(share) for share in shares}) > 400 for space in narrow)
    # Of others, four digits as ever: their searches stay what they are.
    examples = [(0, 0.1), (0, 0.2), (0, 0.5), (0, 0.8), (0, 1), (0, 6)]
    for ends in [*examples, (0.0005, 0.01), (0.05, 0.3), (1, 10), (-5, 5), (0.5, 1.5), (0.9, 0.99)]:
        assert all(Space(uniform=ends).at(share) == round_to_four(ends, share) for share in shares)


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6))
def test_any_range_has_at_least_a_hundred_values(low: float, width: float) -> None:
    space = Space(uniform=(low, low + width))
    assert len({space.at(place / 10_000) for place in range(10_000)}) >= 100


def round_to_four(ends: tuple[float, float], share: float) -> float:
    return float(f"{ends[0] + share * (ends[1] - ends[0]):.4g}")
