from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from crossfold.errors import CrossfoldError
from crossfold.workflow import explain, notice_published, record, restore
from crossfold.workflow.provenance import read_provenance
from crossfold.workflow.records import TIMESTAMP, modified, read_record

DATA = "data/scans/images"
SCRIPT = "scripts/measure.py"


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with two models, the second measured 1000 s after the first."""
    monkeypatch.chdir(tmp_path)
    for model, start in (("First", 1000.0), ("Second", 2000.0)):
        publish(model, start)
        write(f"results/{model}/metrics.csv", "0.9")
    write(SCRIPT, "print()")
    return tmp_path


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def publish(model: str, start: float, *, metrics: str = "0.9", script: str = "print()") -> None:
    job: dict[str, Any] = {
        "rule": "measure",
        "outputs": {f"results/{model}/metrics.csv": md5(metrics)},
        "ended": {f"results/{model}/metrics.csv": start + 10},
        "inputs": {},
        "repeated": [],
        "script": {SCRIPT: md5(script)},
        "log": [f"logs/{model}.log"],
        "params": ["{'seed': 0}"],
        "started": start,
    }
    about = {"format": 1, "snakemake_record_format": 6, "model": model, "jobs": [job]}
    write(f"results/{model}/provenance.json", json.dumps(about))


def test_what_matches_gets_its_time_and_record_back() -> None:
    found = restore()
    assert found.models == ["First", "Second"]
    assert found.same == ["results/First/metrics.csv", "results/Second/metrics.csv", SCRIPT]
    assert modified(Path("results/First/metrics.csv")) == 1010
    assert modified(Path(SCRIPT)) < 1000
    restored = read_record(Path(), "results/Second/metrics.csv")
    assert restored is not None
    assert (restored["starttime"], restored["endtime"]) == (2000, 2010)
    assert restored["params"] == ["{'seed': 0}"]


def test_what_git_has_brought_is_restored_once(capsys: pytest.CaptureFixture[str]) -> None:
    notice_published()
    assert modified(Path("results/First/metrics.csv")) == 1010
    assert "First, Second: 3 published files checked" in capsys.readouterr().err
    notice_published()
    assert capsys.readouterr().err == ""
    publish("Second", 3000.0, metrics="0.95")  # as `git pull` brings it
    write("results/Second/metrics.csv", "0.95")
    notice_published()
    assert "Second: 2 published files" in capsys.readouterr().err
    assert modified(Path("results/Second/metrics.csv")) == 3010


def test_nothing_is_restored_while_snakemake_runs() -> None:
    write(".snakemake/locks/0.input.lock", "")
    notice_published()
    assert read_record(Path(), "results/First/metrics.csv") is None


def test_what_differs_is_new_and_unknown() -> None:
    restore()
    write("results/First/metrics.csv", "0.8")
    os.utime("results/First/metrics.csv", (500, 500))
    found = restore()
    assert found.differing == ["results/First/metrics.csv"]
    assert modified(Path("results/First/metrics.csv")) > time.time() - 60
    assert read_record(Path(), "results/First/metrics.csv") is None
    # Made again with the same bytes, it is what was published.
    write("results/First/metrics.csv", "0.9")
    assert restore().differing == []
    assert modified(Path("results/First/metrics.csv")) == 1010


def test_a_script_that_changed_between_two_models_makes_only_the_first_stale() -> None:
    publish("First", 1000.0, script="print(0)")
    found = restore()
    assert found.changed == [SCRIPT]
    assert 1010 < modified(Path(SCRIPT)) < 2000


def test_a_script_that_went_back_makes_the_second_stale_at_least() -> None:
    publish("Second", 2000.0, script="print(0)")
    restore()
    assert modified(Path(SCRIPT)) > 2010


def test_one_model_can_be_restored_alone() -> None:
    assert restore(["First"]).same == ["results/First/metrics.csv", SCRIPT]
    assert read_record(Path(), "results/Second/metrics.csv") is None


def test_a_directory_gets_one_time_with_all_that_is_in_it() -> None:
    write(f"{DATA}/deep/a.nii.gz", "a")
    digest = f"{md5(json.dumps([{'md5': md5('a'), 'relpath': 'deep/a.nii.gz'}]))}.dir"
    about = json.loads(Path("results/First/provenance.json").read_text())
    about["jobs"][0] |= {"outputs": {DATA: digest}, "ended": {DATA: 500.0}}
    write("results/First/provenance.json", json.dumps(about))
    write(".dvcignore", TIMESTAMP)
    assert DATA in restore().same
    assert {path.stat().st_mtime for path in [Path(DATA), *Path(DATA).rglob("*")]} == {500}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is missing"),
        ("{", "Expecting"),
        ('{"format": 7, "snakemake_record_format": 6}', "another version"),
    ],
)
def test_provenance_that_cannot_be_read_is_an_error(text: str | None, message: str) -> None:
    file = Path("results/First/provenance.json")
    file.unlink() if text is None else write(str(file), text)
    with pytest.raises(CrossfoldError, match=message):
        read_provenance("First")


def test_a_model_that_has_not_run_cannot_be_recorded() -> None:
    with pytest.raises(CrossfoldError, match="no record"):
        record("First")


def test_what_was_recorded_is_what_is_read() -> None:
    restore()
    before = read_provenance("First")
    record("First")
    assert read_provenance("First") == before


def test_what_is_recorded_again_without_a_file_keeps_its_digest() -> None:
    restore()
    before = read_provenance("First")
    Path("results/First/metrics.csv").unlink()
    record("First")
    assert read_provenance("First") == before


def test_a_directory_of_links_to_nothing_is_missing() -> None:
    about = json.loads(Path("results/First/provenance.json").read_text())
    about["jobs"][0]["inputs"] = {DATA: "0123.dir"}
    write("results/First/provenance.json", json.dumps(about))
    Path(DATA).mkdir(parents=True)
    Path(DATA, "lost").symlink_to("nothing")
    assert DATA in restore().missing


def test_a_file_that_nobody_knows_cannot_be_explained() -> None:
    with pytest.raises(CrossfoldError, match="nothing is known"):
        list(explain("results/First/unknown.csv"))
