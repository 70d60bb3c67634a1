from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossfold.errors import CrossfoldError
from crossfold.evaluation.frames import read_frame
from crossfold.paper.facts import changed_keys, gather_facts, software_facts


def facts_of(files: Any, **more: Any) -> Any:
    return gather_facts(files.paths, run=files.run, statistics=files.statistics, **more)


def test_what_was_run(compared_run: Any) -> None:
    section = {"source": "folder", "licence": "CC BY 4.0", "description": None}
    facts = facts_of(compared_run, dataset=section)
    assert (facts.dataset.found, facts.dataset.used) == (41, 40)
    assert [(one.subject, one.reason) for one in facts.dataset.excluded] == [
        ("out1", "no such file")
    ]
    assert facts.dataset.acquired == ("2020-01-02", "2020-01-02")
    assert facts.dataset.licence == "CC BY 4.0"
    assert facts.dataset.description == ""
    assert facts.dataset.images_digest == f"{'a' * 32}.dir"
    assert facts.splits.development + facts.splits.test == 40
    assert facts.training.seconds == (60.0, 60.0)
    assert facts.training.energy_kwh == pytest.approx(0.004)
    assert facts.training.hardware == ("Maker 9000, 1 of 8 cores, 32 GiB of memory",)
    assert facts.software.versions["torch"] == "2.13.0+cpu"
    assert facts.worst[0][0] == "s001"
    result = facts.result("bladder", "dice")
    assert (result.split, result.n, result.n_failed) == ("val", facts.splits.development, 1)


def test_nothing_is_invented(make_run: Callable) -> None:
    files = make_run()
    for name in ("dataset", "dataset_report", "machines", "training"):
        del files.paths[name]
    facts = facts_of(files)
    assert (facts.dataset.found, facts.dataset.digest, facts.dataset.acquired) == (None,) * 3
    assert facts.training.seconds_total is None
    assert facts.training.energy_kwh is None
    assert facts.plan is None
    assert facts.comparisons.empty


def test_energy_of_a_continued_training_is_not_known(make_run: Callable) -> None:
    files = make_run()
    first = files.paths["machines"][0]
    record = json.loads(first.read_text())
    first.write_text(json.dumps(record | {"continued_after_epoch": 3}))
    assert facts_of(files).training.energy_kwh is None


def test_only_changed_keys_are_named(compared_run: Any) -> None:
    changed = {one.key: (one.default, one.value) for one in facts_of(compared_run).changed}
    assert changed == {"splits.folds": (5, 2), "training.epochs": (60, 7)}
    window = {"preprocessing": {"normalisation": {"method": "ct_window", "level": 50.0}}}
    assert {one.key for one in changed_keys(window)} == {
        "preprocessing.normalisation.method",
        "preprocessing.normalisation.level",
    }


def test_the_headline_falls_back_to_what_there_is(make_run: Callable) -> None:
    files = make_run(test=0)
    files.statistics = files.statistics.model_copy(update={"primary_split": "test"})
    facts = facts_of(files)
    assert facts.split == "val"
    assert any("no test set" in sentence for sentence in facts.limitations)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"synthetic": True}, "The images are synthetic"),
        ({"subjects": 20}, "Few subjects"),
        ({"subjects": 20}, "too few for confidence intervals"),
        ({"institutions": ["only"]}, "All subjects are from one institution, only."),
        ({"institutions": [""]}, "The institutions of the subjects are not known"),
        ({"institutions": ["a", "b"]}, "No institution was kept for testing"),
        ({"missed": [("s001", "bladder")]}, "bladder missed in 1 of"),
        ({}, "was not compared with any other"),
    ],
)
def test_limitations_that_the_pipeline_sees(
    make_run: Callable, changes: dict[str, Any], sentence: str
) -> None:
    assert any(sentence in limitation for limitation in facts_of(make_run(**changes)).limitations)


def test_limitations_of_comparisons(compared_run: Any, tmp_path: Path) -> None:
    assert not any("compare" in sentence for sentence in facts_of(compared_run).limitations)
    comparisons = read_frame(compared_run.paths["comparisons"])
    comparisons["verdict"], comparisons["reason"] = "refused", "trained on s001"
    comparisons.to_csv(tmp_path / "comparisons.csv", index=False)
    plan = json.loads(compared_run.paths["plan"].read_text()) | {"results_existed": True}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    changed = {name: tmp_path / name for name in ("comparisons.csv", "plan.json")}
    paths = compared_run.paths | {
        "comparisons": changed["comparisons.csv"],
        "plan": changed["plan.json"],
    }
    facts = gather_facts(paths, run=compared_run.run, statistics=compared_run.statistics)
    said = " ".join(facts.limitations)
    assert "Refused to compare Model_1 with Baseline: trained on s001." in said
    assert "made or changed after the first results" in said


def test_commit_of_a_checkout(tmp_path: Path) -> None:
    assert software_facts(tmp_path).commit is None

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True)

    git("init", "--quiet")
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "--quiet", "--no-verify", "-m", "first")
    (tmp_path / "untracked.txt").write_text("a")
    clean = software_facts(tmp_path)
    assert clean.commit
    assert not clean.dirty
    (tmp_path / "a.txt").write_text("b")
    assert software_facts(tmp_path).dirty


def test_names_stay_text_and_numbers_become_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("subject,fold,state,n,share,flag\n007,0,ok,1,inf,True\nNA,1,,,0.5,False\n")
    frame = read_frame(path)
    assert frame["subject"].tolist() == ["007", "NA"]
    assert frame["fold"].tolist() == ["0", "1"]
    assert frame["state"].tolist() == ["ok", ""]
    np.testing.assert_array_equal(frame["n"], [1, np.nan])
    np.testing.assert_array_equal(frame["share"], [np.inf, 0.5])
    assert frame["flag"].tolist() == [True, False]
    with pytest.raises(CrossfoldError, match=r"b\.csv"):
        read_frame(tmp_path / "b.csv")
