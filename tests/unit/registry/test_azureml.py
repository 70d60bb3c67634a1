"""The models of a workspace, through both SDKs and against their emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crossfold.config.registry import RegistryConfig
from crossfold.errors import CrossfoldError
from crossfold.registry.azureml import AzureRegistry
from crossfold.registry.folder import FolderRegistry
from crossfold.registry.registered import Reference
from crossfold.registry.registering import open_registry, register_model
from tests.unit.registry.bundles import make_bundle, read, verify

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

pytest.importorskip("snakemake_executor_plugin_azureml")


@pytest.fixture
def here(azureml_here: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without config.json, in an environment that names a workspace."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize("sdk", ["v2", "v1"])
def test_a_bundle_is_registered_once_marked_and_brought_back(here: Path, sdk: str) -> None:
    registry = AzureRegistry(sdk=sdk)
    bundle = make_bundle(here / "one", "first")
    (bundle / "stray.txt").write_text("not of the bundle")
    first = registry.register(*read(bundle))
    assert first.id == "Prostate:1"
    assert first.where == "AzureML emulator-workspace"
    second = registry.register(*read(make_bundle(here / "two", "second")))
    assert registry.register(*read(make_bundle(here / "again", "first"))) == first
    found = registry.models().registered
    assert [one.id for one in found] == ["Prostate:1", "Prostate:2"]
    assert found[1].tags == second.tags
    assert found[1].description == second.description
    assert found[1].tags["dice_test"] == "0.8500"
    for number in (2, 1):
        registry.mark_current(Reference("Prostate", number))
    assert registry.find(Reference("Prostate")).version == 1
    assert [one.current for one in registry.models("Prostate").registered] == [True, False]
    folder = FolderRegistry(here / "registry")
    pulled = registry.pull(Reference("Prostate", 2), folder)
    assert (pulled.id, pulled.digest) == ("Prostate:2", second.digest)
    assert pulled.path is not None
    assert not list(read(pulled.path)[0].problems())
    stale = registry.pull(Reference.parse("Prostate:current"), folder)
    assert stale.path is not None
    assert not (stale.path / "stray.txt").exists()
    with pytest.raises(CrossfoldError, match="choose one of Prostate:1, Prostate:2"):
        registry.find(Reference("Prostate", 3))


def test_what_crossfold_has_not_registered_is_left_alone(
    here: Path, azureml_here: Emulator
) -> None:
    from snakemake_executor_plugin_azureml.client import connect
    from snakemake_executor_plugin_azureml.workspace import find_workspace

    (here / "weights.bin").write_bytes(b"theirs")
    connect("v2", find_workspace()).register_model("Prostate", here / "weights.bin", tags={})
    registry = AzureRegistry()
    assert registry.models().registered == []
    assert registry.register(*read(make_bundle(here / "one"))).id == "Prostate:2"


def test_a_number_that_somebody_else_was_given_is_no_error(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (read(make_bundle(here / name, name)) for name in ("one", "other"))
    registry, theirs = AzureRegistry(), AzureRegistry()
    client = registry._client
    register = client.register_model
    taken = []

    def late(*arguments: object, **options: object) -> str:
        if not taken:
            taken.append(theirs.register(*other))
            raise registry._refusal("Prostate:1 exists already")
        return register(*arguments, **options)

    monkeypatch.setattr(client, "register_model", late)
    assert registry.register(*one).id == "Prostate:2"
    assert [one.id for one in taken] == ["Prostate:1"]


def test_the_pipeline_registers_where_a_workspace_is_configured(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(here / "one")
    verified = verify(bundle)
    registered = register_model(bundle, verified, here / "registered_model.json", RegistryConfig())
    written = json.loads((here / "registered_model.json").read_text())
    assert (registered.kind, written["kind"], written["id"]) == ("azureml", "azureml", "Prostate:1")
    assert written["digest"] == read(bundle)[0].digest
    assert not (here / "registry").exists()
    in_folder = register_model(bundle, verified, here / "again.json", RegistryConfig(kind="folder"))
    assert in_folder.where == "registry/Prostate/1"
    monkeypatch.delenv("AZUREML_WORKSPACE_NAME")
    with pytest.raises(CrossfoldError, match="workspace_name missing"):  # half of it: a mistake
        open_registry(RegistryConfig())


def test_without_a_workspace_the_folder_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME"):
        monkeypatch.delenv(f"AZUREML_{name}", raising=False)
    assert isinstance(open_registry(RegistryConfig()), FolderRegistry)
    with pytest.raises(CrossfoldError, match="No Azure Machine Learning workspace"):
        open_registry(RegistryConfig(kind="azureml"))
    monkeypatch.setattr("crossfold.registry.azureml.PLUGIN", "no_such_plugin")
    assert isinstance(open_registry(RegistryConfig()), FolderRegistry)
    with pytest.raises(CrossfoldError, match="no_such_plugin"):
        open_registry(RegistryConfig(kind="azureml"))
