from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from crossfold.config.registry import RegistryConfig
from crossfold.errors import CrossfoldError
from crossfold.registry.registering import deploy_model, read_registered, register_model
from tests.unit.registry.bundles import make_bundle, verify

SERVING = """
def deploy(registered):
    assert (registered.path / "hashes.json").is_file()
    print(registered.id, registered.name, registered.version, registered.tags["epoch"])


def fail(registered):
    raise OSError("no server today")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_serving.py").write_text(SERVING)
    monkeypatch.delitem(sys.modules, "my_serving", raising=False)
    return tmp_path


def test_what_was_registered_is_written_and_deployed(here: Path) -> None:
    bundle, file = make_bundle(here / "model"), here / "registered_model.json"
    verified = verify(bundle)
    section = RegistryConfig(kind="folder", path="shared")
    registered = register_model(bundle, verified, file, section)
    written = file.read_bytes()
    assert json.loads(written)["where"] == "shared/Prostate/1"
    assert register_model(bundle, verified, file, section) == registered
    assert file.read_bytes() == written
    assert read_registered(file, bundle).id == "Prostate:1"
    deploy_model("my_serving.deploy", file, bundle, here / "said.txt")
    assert (here / "said.txt").read_text() == "Prostate:1 Prostate 1 20\n"


def test_a_deployment_that_fails_leaves_the_model_registered(here: Path) -> None:
    bundle, file = make_bundle(here / "model"), here / "registered_model.json"
    verified = verify(bundle)
    register_model(bundle, verified, file, RegistryConfig(kind="folder"))
    with pytest.raises(CrossfoldError, match=r"hooks\.model_deployment.*no server") as raised:
        deploy_model("my_serving.fail", file, bundle, here / "said.txt")
    assert "Prostate:1 stays registered" in raised.value.remedy
    assert not (here / "said.txt").exists()
    assert (here / "registry/Prostate/1/model/hashes.json").is_file()


def test_a_damaged_file_is_named(here: Path) -> None:
    (here / "registered_model.json").write_text("{")
    with pytest.raises(CrossfoldError, match=r"registered_model\.json: not readable"):
        read_registered(here / "registered_model.json", here)


def test_what_was_not_verified_is_not_registered(here: Path) -> None:
    verified = verify(make_bundle(here / "model"))
    bundle = make_bundle(here / "model", "made again")
    with pytest.raises(CrossfoldError, match=r"model_verified\.json: another bundle"):
        register_model(bundle, verified, here / "out.json", RegistryConfig(kind="folder"))
    assert not (here / "registry").exists()
