"""The models of a workspace, through both SDKs and against their emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crossfold.__main__ import main
from crossfold.config.registry import RegistryConfig
from crossfold.errors import CrossfoldError
from crossfold.registry.azureml import AzureRegistry
from crossfold.registry.folder import FolderRegistry
from crossfold.registry.references import locate
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
    assert registry.mark_current(Reference("Prostate", 2)).marked
    # Somebody's clock is wrong.
    registry._client.tag_model("Prostate:2", {"current_since": "2999-01-01T00:00:00+00:00"})
    registry.mark_current(Reference("Prostate", 1))
    assert registry.find(Reference("Prostate")).version == 1
    assert [one.marked[:4] for one in registry.models().registered] == ["2999", "2999"]
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
            raise registry._connection.refusal("Prostate:1 exists already")
        return register(*arguments, **options)

    monkeypatch.setattr(client, "register_model", late)
    assert registry.register(*one).id == "Prostate:2"
    assert [one.id for one in taken] == ["Prostate:1"]


def test_one_bundle_registered_twice_at_the_same_moment_is_told_of(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read(make_bundle(here / "one"))
    registry, theirs = AzureRegistry(), AzureRegistry()
    register = registry._client.register_model

    def late(*arguments: Any, **options: Any) -> str:
        theirs.register(*bundle)
        return register(*arguments, **options)

    monkeypatch.setattr(registry._client, "register_model", late)
    assert registry.register(*bundle).id == "Prostate:1"
    assert [(one.id, first.id) for one, first in registry.models().copies] == [
        ("Prostate:2", "Prostate:1")
    ]
    assert main(["models"]) == 0
    assert "Prostate:2 is Prostate:1 once more" in capsys.readouterr().out


@pytest.mark.parametrize("reference", ["Prostate", "Prostate:current", "Prostate:1"])
def test_a_model_of_the_workspace_is_brought_when_it_is_asked_for(
    here: Path, reference: str
) -> None:
    registry = AzureRegistry()
    for name in ("one", "two"):
        registry.register(*read(make_bundle(here / name, name)))
    registry.mark_current(Reference("Prostate", 1))
    found = [locate(reference), locate(reference)]
    assert [one.path for one in found] == [Path("registry/Prostate/1/model")] * 2
    assert not list(read(found[0].path)[0].problems())
    assert not Path("registry/Prostate/2").exists()


def test_what_only_the_folder_has_is_not_taken_for_the_workspace_s(here: Path) -> None:
    FolderRegistry(Path("registry")).register(*read(make_bundle(here / "old", "old")))
    with pytest.raises(CrossfoldError) as raised:
        locate("Prostate:1")
    assert raised.value.message == (
        "Prostate:1: there is no such model in AzureML emulator-workspace"
    )
    assert "that of the registry folder: registry/Prostate/1/model" in raised.value.remedy
    AzureRegistry().register(*read(make_bundle(here / "new", "new")))
    with pytest.raises(CrossfoldError, match="is another bundle"):
        locate("Prostate:1")
    Path("config.yaml").write_text("registry: {kind: folder}\n")
    assert locate("Prostate:1").path == Path("registry/Prostate/1/model")


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
    monkeypatch.setattr("crossfold.registry.workspace.PLUGIN", "no_such_plugin")
    assert isinstance(open_registry(RegistryConfig()), FolderRegistry)
    with pytest.raises(CrossfoldError, match="no_such_plugin"):
        open_registry(RegistryConfig(kind="azureml"))
