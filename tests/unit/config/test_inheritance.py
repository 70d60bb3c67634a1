from __future__ import annotations

import pytest

from crossfold.config.inheritance import BrokenChainError, lineage, merge, resolve

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


@pytest.mark.parametrize("key", ["_target_", "method", "source"])
def test_who_names_no_kind_is_of_the_default_kind(key: str) -> None:
    assert merge({"channels": [4, 8]}, {key: "other", "width": 3}) == {key: "other", "width": 3}
    assert merge({key: "kind", "width": 3}, {"width": 4}) == {key: "kind", "width": 4}


def test_a_base_that_is_not_there() -> None:
    with pytest.raises(BrokenChainError, match="unknown model `Bas`") as raised:
        lineage("A", {"A": {"base": "Bas"}, "Base": {}})
    assert raised.value.model == "A"
    assert raised.value.remedy == "did you mean `Base`?"


def test_the_chain_that_leads_to_an_unknown_base_is_shown() -> None:
    with pytest.raises(BrokenChainError, match=r"unknown model `C` \(A -> B -> C\)") as raised:
        lineage("A", {"A": {"base": "B"}, "B": {"base": "C"}})
    assert raised.value.model == "B"


@pytest.mark.parametrize(
    ("models", "circle"),
    [
        ({"A": {"base": "A"}}, "A -> A"),
        ({"A": {"base": "B"}, "B": {"base": "A"}}, "A -> B -> A"),
        ({"A": {"base": "B"}, "B": {"base": "C"}, "C": {"base": "B"}}, "A -> B -> C -> B"),
    ],
)
def test_a_circle_is_shown(models: dict[str, dict[str, str]], circle: str) -> None:
    with pytest.raises(BrokenChainError) as raised:
        lineage("A", models)
    assert raised.value.message.endswith(f"in a circle: {circle}")


def test_one_base_has_one_name() -> None:
    with pytest.raises(BrokenChainError, match=r"is \['B', 'C'\]"):
        lineage("A", {"A": {"base": ["B", "C"]}, "B": {}, "C": {}})


def test_bases_that_come_with_crossfold_bear_the_name_of_their_file() -> None:
    models = {"Mine": {"base": "innereye.ProstateBase", "training": {"epochs": 3}}}
    assert lineage("Mine", models)[1:3] == ["innereye.ProstateBase", "innereye.LargeModelBase"]
    assert resolve("Mine", models)["training"]["epochs"] == 3
    with pytest.raises(BrokenChainError) as raised:
        lineage("A", {"A": {"base": "innereye.ProstatBase"}})
    assert raised.value.remedy == "did you mean `innereye.ProstateBase`?"
