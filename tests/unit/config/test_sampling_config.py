from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crossfold.config.sampling import SamplingConfig


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, None),
        ({"class_weights": "equal"}, (1 / 3, 1 / 3, 1 / 3)),
        ({"background_weight": 0.02}, (0.02, 0.49, 0.49)),
        ({"class_weights": {"b": 0.5, "background": 0.2, "a": 0.3}}, (0.2, 0.3, 0.5)),
    ],
)
def test_weights_stand_in_the_order_of_the_structures(
    keys: dict[str, Any], expected: tuple[float, ...] | None
) -> None:
    assert SamplingConfig(**keys).weights(["a", "b"]) == (expected and pytest.approx(expected))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"class_weights": {"background": 0.5, "a": 0.2}}, "add up to 0.7 and have to add up to 1"),
        ({"class_weights": {"background": 1.5, "a": -0.5}}, "greater than or equal to 0"),
        ({"class_weights": "equal", "background_weight": 0.1}, "not both"),
        ({"background_weight": 1}, "less than 1"),
    ],
)
def test_weights_that_are_no_probabilities_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SamplingConfig(**keys)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"background": 0.5, "aa": 0.5}, "unknown name `aa`; did you mean `a`"),
        ({"background": 0.5, "a": 0.5}, "no weight for b"),
    ],
)
def test_every_class_has_a_weight(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(class_weights=weights).weights(["a", "b"])
