from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossfold import workflow
from crossfold.errors import CrossfoldError

MENDABLE = CrossfoldError("config.yaml: splits.folds: is 0", remedy="raise it")


@pytest.fixture
def snakemake(tmp_path: Path) -> Iterator[SimpleNamespace]:
    level = logging.root.level
    yield SimpleNamespace(
        log=[str(tmp_path / "logs" / "train_fold" / "M_0.log")],
        rule="train_fold",
        wildcards={"model": "M", "fold": "0"},
    )
    logging.captureWarnings(False)
    logging.root.setLevel(level)
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()


def log_of(snakemake: SimpleNamespace) -> str:
    return Path(snakemake.log[0]).read_text(encoding="utf-8")


def test_a_job_writes_its_log(snakemake: SimpleNamespace) -> None:
    with workflow.job(snakemake):
        logging.getLogger("crossfold.learning").info("fold %d continues", 0)
    assert "INFO fold 0 continues" in log_of(snakemake)
    assert "Python" in log_of(snakemake)


def test_an_error_that_can_be_mended_has_no_traceback(snakemake: SimpleNamespace) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise MENDABLE
    assert f"ERROR in train_fold of model M, fold 0: {MENDABLE}" in log_of(snakemake)
    assert "Traceback" not in log_of(snakemake)


def test_any_other_error_has_its_traceback_in_the_log(snakemake: SimpleNamespace) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise KeyError("voxels")
    traceback, _, message = log_of(snakemake).rpartition(" ERROR ")
    assert "Traceback (most recent call last)" in traceback
    assert "test_workflow.py" in traceback
    assert message == (
        f"in train_fold of model M, fold 0: KeyError: 'voxels'\n  Traceback: {snakemake.log[0]}\n"
    )


SAY = """
import sys
from pathlib import Path
from crossfold import workflow
workflow.STARTED = float(sys.argv[2])
workflow.say_what_failed(Path(sys.argv[1]))
print("the last words of Snakemake", file=sys.stderr)
"""


def last_words(logs: Path, started: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SAY, str(logs), str(started)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.partition("the last words of Snakemake")[2]


def test_errors_are_said_once_and_last(snakemake: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise MENDABLE
    (tmp_path / "logs" / "fine.log").write_text("2026-11-22 INFO all is well")
    said = last_words(tmp_path / "logs", started=0)
    assert said.strip() == f"Error in train_fold of model M, fold 0: {MENDABLE}"


def test_errors_of_an_earlier_run_are_not_said(snakemake: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise MENDABLE
    modified = Path(snakemake.log[0]).stat().st_mtime
    assert last_words(tmp_path / "logs", started=modified + 1).strip() == ""


def test_a_configuration_error_ends_with_its_message() -> None:
    with pytest.raises(SystemExit) as stopped, workflow.readable_errors():
        raise MENDABLE
    assert stopped.value.code == f"\nError in the configuration: {MENDABLE}\n"


def test_overlays_are_stronger_than_the_configuration_of_the_checkout(tmp_path: Path) -> None:
    overlay = tmp_path / "lab.yaml"
    # In the order in which Snakemake lists them.
    run = SimpleNamespace(
        configfiles=[overlay, "config.yaml"],
        config_settings=SimpleNamespace(configfiles=[overlay]),
    )
    names = [file.name for file in workflow.configuration_files(run)]
    assert names == ["config.yaml", "lab.yaml"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "splits.py").write_text("a = 1\n")
    (tmp_path / "data" / "dataset.py").write_text("b = 2\n")
    monkeypatch.setattr(workflow, "PACKAGE", tmp_path)
    return tmp_path


def test_a_fingerprint_changes_with_the_content_of_its_files(package: Path) -> None:
    before = workflow.fingerprint("data/splits.py")
    (package / "data" / "dataset.py").write_text("b = 3\n")
    assert workflow.fingerprint("data/splits.py") == before
    (package / "data" / "splits.py").write_text("a = 2\n")
    assert workflow.fingerprint("data/splits.py") != before


def test_a_fingerprint_of_a_folder_changes_with_names_too(package: Path) -> None:
    before = workflow.fingerprint("data")
    (package / "data" / "splits.py").rename(package / "data" / "folds.py")
    assert workflow.fingerprint("data") != before


def test_a_fingerprint_of_no_file_is_refused(package: Path) -> None:
    with pytest.raises(FileNotFoundError):
        workflow.fingerprint("data/nothing.py")


def test_a_fingerprint_follows_the_imports_of_a_wing(package: Path) -> None:
    for name, text in {
        "paper/a.py": "from crossfold.paper.b import thing\n",
        "paper/b.py": "from crossfold.paper import c\nimport crossfold.data.splits\n",
        "paper/c.py": "x = 1\n",
        "paper/d.py": "x = 1\n",
    }.items():
        file = package / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    before = workflow.fingerprint_with_imports("paper/a.py")
    for outside in ("paper/d.py", "data/splits.py"):
        (package / outside).write_text("x = 2\n", encoding="utf-8")
        assert workflow.fingerprint_with_imports("paper/a.py") == before
    (package / "paper/c.py").write_text("x = 2\n", encoding="utf-8")
    assert workflow.fingerprint_with_imports("paper/a.py") != before
