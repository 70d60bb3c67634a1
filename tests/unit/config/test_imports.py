from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from crossfold.config.imports import own_digests
from crossfold.errors import CrossfoldError

FILES = {
    "lab_of_imports/__init__.py": "",
    "lab_of_imports/nets.py": "import json, torch\nfrom .parts import block\nclass Net: ...\n",
    "lab_of_imports/parts.py": "import numpy\nimport beside_imports\n",
    "lab_of_imports/unused.py": "",
    "beside_imports.py": "import lab_of_imports.nets\n",
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_own_code_is_a_module_and_what_it_imports_but_nothing_installed(lab: Path) -> None:
    used = [name for name in FILES if "unused" not in name]
    contents = [hashlib.sha256(FILES[name].encode()).hexdigest() for name in used]
    assert own_digests(["lab_of_imports.nets.Net"]) == {"lab_of_imports.nets.Net": contents}


def test_crossfold_and_installed_packages_are_nobodys_own() -> None:
    installed = ["crossfold.learning.networks.UNet", "monai.networks.nets.UNet", "json.dumps"]
    assert own_digests([*installed, "nowhere_at_all.Net"]) == {}


def test_a_file_that_is_no_python_is_named(lab: Path) -> None:
    (lab / "beside_imports.py").write_text("def (:\n", encoding="utf-8")
    with pytest.raises(CrossfoldError, match=r"beside_imports\.py: line 1"):
        own_digests(["lab_of_imports.nets.Net"])
