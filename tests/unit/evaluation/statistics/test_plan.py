import json
from pathlib import Path

import pytest

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.plan import (
    Plan,
    check_plan,
    make_plan,
    planned_pairs,
    read_plan,
    write_plan,
)


def plan_of(**config: object) -> Plan:
    settings = StatisticsConfig.model_validate(config)
    return make_plan("A", ["B", "C"], ["x", "y"], settings, results_existed=False)


def test_family_is_runs_by_structures_by_metrics() -> None:
    family = plan_of()["families"][0]
    assert family["m"] == len(family["comparisons"]) == 2 * 2 * 2
    assert family["comparisons"][0]["comparison_id"] == "A vs B / val / x / dice"
    assert plan_of(pairs="all")["families"][0]["m"] == 3 * 2 * 2
    assert plan_of(primary_metrics=["dice"], exclude_structures=["y"])["families"][0]["m"] == 2


@pytest.mark.parametrize(
    ("config", "pairs"),
    [
        ({}, [("A", "B"), ("A", "C")]),
        ({"reference": "C"}, [("A", "C"), ("B", "C")]),
        ({"pairs": "all"}, [("A", "B"), ("A", "C"), ("B", "C")]),
    ],
)
def test_the_model_or_the_opponent_of_the_reference_comes_first(
    config: dict[str, str], pairs: list[tuple[str, str]]
) -> None:
    assert planned_pairs("A", ["B", "C"], StatisticsConfig.model_validate(config)) == pairs


def test_same_plan_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_plan(tmp_path / name, plan_of(margins={"nsd": 0.02, "dice": 0.01}))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_plan(tmp_path / "one") == plan_of(margins={"dice": 0.01, "nsd": 0.02})


@pytest.mark.parametrize("key", ["alpha", "results_existed"])
def test_an_edited_plan_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan_of() | {key: 0.04}))
    with pytest.raises(CrossfoldError, match="edited after it was written"):
        read_plan(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "7"])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(CrossfoldError, match="no such file"):
        read_plan(path)
    path.write_text(text)
    with pytest.raises(CrossfoldError, match="not readable as a plan"):
        read_plan(path)


def test_a_plan_of_another_configuration_is_refused() -> None:
    check_plan(plan_of(), plan_of())
    with pytest.raises(CrossfoldError, match=r"alpha changed .*: alpha was 0\.05, now 0\.01"):
        check_plan(plan_of(), plan_of(alpha=0.01))


def test_a_primary_structure_cannot_be_excluded() -> None:
    with pytest.raises(CrossfoldError, match="`x` is excluded"):
        plan_of(primary_structures=["x"], exclude_structures=["x"])


def test_names_of_other_models_leave_a_plan_as_it_is() -> None:
    plan = plan_of(reference="of another model", primary_structures=["of another model"])
    assert plan["families"] == plan_of()["families"]


def test_labels_are_unique() -> None:
    with pytest.raises(CrossfoldError, match="2 runs are called `A`"):
        make_plan("A", ["A"], ["x"], StatisticsConfig(), results_existed=False)
