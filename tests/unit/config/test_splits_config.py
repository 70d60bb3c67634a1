from __future__ import annotations

import json

import pytest
import yaml
from pydantic import ValidationError

from crossfold.config.splits import SplitsConfig


def test_numeric_subjects_of_yaml_become_text() -> None:
    section = yaml.safe_load("{test: [7, p08], val: {institutions: [1]}, folds: 1}")
    config = SplitsConfig(**section)
    assert config.test == ("7", "p08")
    assert config.val.institutions == ("1",)


def test_survives_json() -> None:
    config = SplitsConfig(test={"institutions": ["a"]}, exclude=["p1"], seed=3)
    assert SplitsConfig(**json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"test": 1}, r"`1` is not a proportion in \[0, 1\)"),
        ({"test": None}, "write 0.2 for a fifth, 0 for none"),
        ({"test": True}, "`True` is not a proportion"),
        ({"test": "p1"}, r"`p1` is not a list; write \[p1\]"),
        ({"train": 0.8}, "`0.8` is not a list"),
        ({"test": ["p1", "p1"]}, "named twice: p1"),
        ({"test": {"institution": ["a"]}}, "did you mean `institutions`"),
        ({"test": ["p1"], "exclude": ["p1", "p2"]}, "`test` and `exclude` both name p1;"),
        ({"val": 0.2, "folds": 5}, "`val: 0.2` has no effect with `folds: 5`"),
        ({"train": ["p1", "p2"]}, "`test: 0.2` has nobody to draw from once `train` is named"),
        ({"train": ["p1"], "test": 0, "folds": 1}, "`val: empty` has nobody to draw from"),
        ({"folds": 0}, "greater than or equal to 1"),
    ],
)
def test_refuses_and_says_what_to_do(section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SplitsConfig(**section)


def test_a_subject_may_bear_the_name_of_an_institution() -> None:
    config = SplitsConfig(test=["a"], exclude={"institutions": ["a"]})
    assert config.test == ("a",)
