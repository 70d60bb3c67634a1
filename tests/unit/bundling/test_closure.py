from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from crossfold.bundling.closure import modules_of, requirements_of


def test_prediction_needs_neither_training_nor_the_paper() -> None:
    files, packages = modules_of(["crossfold.prediction.__main__"])
    assert {"crossfold/__init__.py", "crossfold/prediction/subject.py"} <= {*files}
    wings = {Path(name).parts[1] for name in files}
    assert not wings & {"evaluation", "paper", "publishing", "workflow", "commands", "bundling"}
    assert "crossfold/learning/training.py" not in files
    assert {"torch", "nibabel", "cc3d"} <= packages
    assert not packages & {"snakemake", "dvc", "matplotlib", "json"}


def test_a_sites_own_network_comes_with_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_lab"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("from some_lab.parts import block\n")
    (package / "parts/__init__.py").touch()
    (package / "parts/block.py").write_text("import torch\nfrom .. import other\n")
    (package / "other.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\n"
    )
    (package / "unrelated.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    files, packages = modules_of(["some_lab.nets"])
    assert [*files] == [
        "some_lab/__init__.py",
        "some_lab/nets.py",
        "some_lab/other.py",
        "some_lab/parts/__init__.py",
        "some_lab/parts/block.py",
    ]
    assert packages == {"torch"}


def test_requirements_go_all_the_way_down() -> None:
    found = requirements_of(["pandas"])
    assert f"numpy=={version('numpy')}" in found
    assert f"six=={version('six')}" in found  # of python-dateutil, of pandas
    assert found == sorted(found)
