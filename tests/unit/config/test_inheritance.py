from __future__ import annotations

import pytest

from crossfold.config.inheritance import lineage, merge, resolve
from crossfold.errors import CrossfoldError

MODELS = {
    "Base": {"abstract": True, "images": ["ct"], "training": {"epochs": 60, "seed": 1}},
    "Middle": {"base": "Base", "training": {"epochs": 20}},
    "Last": {"base": "Middle", "images": ["mr"]},
    "Nothing": None,
}


def test_a_model_inherits_key_by_key_and_replaces_lists() -> None:
    assert lineage("Last", MODELS) == ["Last", "Middle", "Base"]
    assert resolve("Last", MODELS) == {"images": ["mr"], "training": {"epochs": 20, "seed": 1}}
    assert resolve("Nothing", MODELS) == {}


def test_bases_are_left_as_they_were() -> None:
    before = repr(MODELS)
    resolve("Last", MODELS)["training"]["epochs"] = 0
    assert repr(MODELS) == before


def test_another_kind_takes_nothing_from_its_base() -> None:
    base = {"method": "ct_window", "level": 50, "window": 600}
    assert merge(base, {"level": 40}) == {"method": "ct_window", "level": 40, "window": 600}
    assert merge(base, {"method": "z_score"}) == {"method": "z_score"}
    assert merge(base, {"method": "ct_window", "level": 40})["window"] == 600


def test_a_base_that_is_not_there() -> None:
    with pytest.raises(CrossfoldError, match=r"models\.A\.base: unknown model `Bas`") as raised:
        lineage("A", {"A": {"base": "Bas"}, "Base": {}})
    assert raised.value.remedy == "did you mean `Base`?"


@pytest.mark.parametrize("models", [{"A": {"base": "A"}}, {"A": {"base": "B"}, "B": {"base": "A"}}])
def test_a_circle_is_shown(models: dict[str, dict[str, str]]) -> None:
    with pytest.raises(CrossfoldError, match=r"in a circle: A -> .*A"):
        lineage("A", models)
