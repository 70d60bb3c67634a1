from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from crossfold.errors import CrossfoldError
from crossfold.workflow import OwnCode


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout to be in, with a lab beside it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    folder = tmp_path / "my_lab"
    (folder / "parts").mkdir(parents=True)
    files = {
        "config.yaml": "",
        "nets.py": "import torch\nfrom my_lab.parts import blocks\nclass Net: pass\n",
        "parts/__init__.py": "",
        "parts/blocks.py": "from .. import sizes\nfrom . import nothing\n",
        "sizes.py": "WIDTH = 3\n",
        "hooks.py": "def notify(): import my_lab.nets\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def own(lab: Path) -> OwnCode:
    return OwnCode([Path("config.yaml"), lab / "config.yaml"])


def test_the_folder_of_a_configuration_is_a_package(lab: Path) -> None:
    own(lab)
    above = str(lab.parent.resolve())
    assert sys.path[-1] == above
    assert os.environ["PYTHONPATH"].split(os.pathsep) == ["/elsewhere", above]
    own(lab)
    assert sys.path.count(above) == 1
    assert os.environ["PYTHONPATH"].count(above) == 1


def test_a_folder_without_code_changes_nothing(
    tmp_path: Path, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH")
    before = [*sys.path]
    (tmp_path / "plain").mkdir()
    code = OwnCode([Path("config.yaml"), tmp_path / "plain/config.yaml"])
    assert sys.path == before
    assert "PYTHONPATH" not in os.environ
    assert code.files_of({"plain.nets.Net": "key"}) == []


def test_files_are_those_that_a_name_leads_to(lab: Path) -> None:
    found = own(lab).files_of({"my_lab.nets.Net": "network._target_", "torch.nn.Conv3d": "other"})
    assert sorted(found) == [
        "../my_lab/nets.py",
        "../my_lab/parts/__init__.py",
        "../my_lab/parts/blocks.py",
        "../my_lab/sizes.py",
    ]
    assert own(lab).files_of({"my_lab.sizes.WIDTH": "key"}) == ["../my_lab/sizes.py"]


def test_code_beside_the_snakefile_is_found(lab: Path) -> None:
    Path("here").mkdir()
    Path("here/nets.py").write_text("import single\nclass Net: pass\n")
    Path("single.py").write_text("def make(): pass\n")
    code = OwnCode([Path("config.yaml")])
    assert sorted(code.files_of({"here.nets.Net": "key"})) == ["here/nets.py", "single.py"]
    assert code.files_of({"single.make": "key"}) == ["single.py"]


def test_nothing_of_crossfold_is_listed(lab: Path) -> None:
    Path("crossfold").mkdir()
    assert own(lab).files_of({"crossfold.learning.networks.UNet": "network._target_"}) == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("my_lab.net.Net", r"import my_lab\.net\.Net: there is no \.\./my_lab/net\.py"),
        ("my_lab.nets.Ne", r"import my_lab\.nets\.Ne: \.\./my_lab/nets\.py has no `Ne`"),
    ],
)
def test_a_misspelt_name_is_named(lab: Path, target: str, message: str) -> None:
    with pytest.raises(CrossfoldError, match=f"key: cannot {message}"):
        own(lab).files_of({target: "key"})


def test_code_that_is_no_python_is_named(lab: Path) -> None:
    (lab / "nets.py").write_text("class Net\n")
    with pytest.raises(CrossfoldError, match=r"\.\./my_lab/nets\.py: line 1: expected ':'"):
        own(lab).files_of({"my_lab.nets.Net": "key"})
