from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from crossfold.paper.facts import gather_facts
from crossfold.paper.reporting import (
    CHECKLISTS,
    checklist,
    materials,
    model_card,
    statements,
    write_reporting,
)
from crossfold.paper.reporting.checklists import TO_FILL, items_of
from crossfold.paper.reporting.statements import MAKERS


def facts_of(files: Any) -> Any:
    return gather_facts(files.paths, run=files.run, statistics=files.statistics)


def test_checklists_have_all_their_items() -> None:
    claim = [item["item"] for item in items_of("claim")]
    assert claim == [*range(1, 45)]
    tripod = [str(item["item"]) for item in items_of("tripod_ai")]
    assert len(tripod) == len(set(tripod)) == 52
    assert {int(item.rstrip("abcdefg")) for item in tripod} == {*range(1, 28)}


@pytest.mark.parametrize("name", CHECKLISTS)
def test_templates_name_only_statements_that_there_are(name: str) -> None:
    said = {key for item in items_of(name) for key in item.get("says", ())}
    assert said <= set(MAKERS)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_status_says_what_a_person_has_to_do(compared_run: Any, name: str) -> None:
    table = checklist(name, statements(facts_of(compared_run)))
    to_fill = table["text"].str.contains(TO_FILL)
    assert (to_fill == (table["status"] != "auto")).all()
    assert (table["text"].str.startswith(TO_FILL) == (table["status"] == "human")).all()
    assert ((table["source_file"] == "") == (table["status"] == "human")).all()
    assert set(table["status"]) == {"auto", "template", "human"}


def test_only_files_that_were_there_are_sources(make_run: Callable) -> None:
    files = make_run()
    del files.paths["dataset_report"], files.paths["machines"]
    table = checklist("claim", statements(facts_of(files))).set_index("item")
    sources = " ".join(table["source_file"])
    assert "dataset_report.csv" not in sources
    assert "machine.json" not in sources
    assert "plan.json" not in sources
    assert table.loc["30", "status"] == "human"


def test_numbers_are_those_of_the_summary(compared_run: Any) -> None:
    facts = facts_of(compared_run)
    table = checklist("claim", statements(facts)).set_index("item")
    result = facts.result("bladder", "dice")
    assert f"mean Dice {result.mean:.2f} (95 % CI {result.ci_low:.2f}" in table.loc["37", "text"]
    assert "bladder: 1 missed, 0 hallucinated" in table.loc["39", "text"]
    assert "out1: no such file" in table.loc["8", "text"]
    assert "Planned comparisons: 6" in table.loc["29", "text"]


def test_the_model_card_leaves_open_what_only_a_person_knows(compared_run: Any) -> None:
    facts = facts_of(compared_run)
    card = model_card(facts, statements(facts))
    intended = card.split("## Intended use")[1].split("##")[0]
    assert "TO FILL" in intended
    assert "s001" in card.split("## Caveats")[1]
    for sentence in facts.limitations:
        assert sentence.split("_")[0] in card
    assert "femur\\_r" in card
    assert "Energy: 0.004 kWh" in card
    assert "\n\n\n" not in card


def test_documents_are_written(make_run: Callable, tmp_path: Path) -> None:
    files = make_run(test=0, subjects=12, structures=["a|b"])
    write_reporting(facts_of(files), tmp_path)
    written = pd.read_csv(tmp_path / "checklist_tripod_ai.csv", keep_default_na=False)
    assert [*written] == ["item", "section", "topic", "status", "text", "source_file"]
    assert "a\\|b" in (tmp_path / "model_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folds", "test", "into"),
    [(5, 3, "a test set and 5 folds"), (5, 0, "5 folds"), (1, 0, "training and validation")],
)
def test_a_division_by_a_function_is_said_to_be_one(folds: int, test: int, into: str) -> None:
    section = {"test": 0.2, "seed": 0, "function": {"_target_": "my_lab.splits.by_scanner"}}
    facts: Any = SimpleNamespace(
        config={"splits": section}, splits=SimpleNamespace(folds=folds, test=test)
    )
    assert materials.partitions(facts) == f"Divided by my_lab.splits.by_scanner into {into}."
