from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from crossfold import workflow
from crossfold.workflow import fingerprints


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "splits.py").write_text("a = 1\n")
    (tmp_path / "data" / "dataset.py").write_text("b = 2\n")
    monkeypatch.setattr(fingerprints, "PACKAGE", tmp_path)
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


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "dependencies: [python=3.11, {pip: [torch==1.0, numpy==1.0, tqdm==1.0, absent==3.2]}]"
    (tmp_path / "small.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(fingerprints, "ENVIRONMENTS", tmp_path)
    installed = {"torch": "2.13.0+cpu", "numpy": "2.4.6", "tqdm": "4.0"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(fingerprints, "version", version)
    fingerprints.software_of.cache_clear()


@pytest.mark.usefixtures("environment")
def test_software_is_what_is_installed_or_else_pinned() -> None:
    # Builds for other machines are the same software, and a progress bar changes no result.
    assert workflow.software_of("small") == ["absent==3.2", "numpy==2.4.6", "torch==2.13.0"]
