"""Which workspace is meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from snakemake_executor_plugin_azureml.workspace import NoWorkspaceError, Workspace, find_workspace
from snakemake_interface_common.exceptions import WorkflowError

CONFIG = {"subscription_id": "sub-c", "resource_group": "group-c", "workspace_name": "space-c"}
VARIABLES = {
    "AZUREML_SUBSCRIPTION_ID": "sub-v",
    "AZUREML_RESOURCE_GROUP": "group-v",
    "AZUREML_WORKSPACE_NAME": "space-v",
}


def write_config(path: Path, content: object = CONFIG) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_settings_come_first(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json")
    found = find_workspace(
        subscription_id="sub-s",
        resource_group="group-s",
        workspace_name="space-s",
        directory=tmp_path,
        environ=VARIABLES,
    )
    assert found == Workspace(
        subscription_id="sub-s", resource_group="group-s", workspace_name="space-s"
    )


def test_variables_come_before_the_file(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json")
    found = find_workspace(directory=tmp_path, environ=VARIABLES)
    assert found == Workspace(
        subscription_id="sub-v", resource_group="group-v", workspace_name="space-v"
    )


def test_each_completes_the_one_before(tmp_path: Path) -> None:
    write_config(tmp_path / ".azureml" / "config.json")
    found = find_workspace(
        workspace_name="space-s", directory=tmp_path, environ={"AZUREML_RESOURCE_GROUP": "group-v"}
    )
    assert found == Workspace(
        subscription_id="sub-c", resource_group="group-v", workspace_name="space-s"
    )


def test_variables_that_the_service_sets_are_understood(tmp_path: Path) -> None:
    environ = {
        "AZUREML_ARM_SUBSCRIPTION": "sub",
        "AZUREML_ARM_RESOURCEGROUP": "group",
        "AZUREML_ARM_WORKSPACE_NAME": "space",
    }
    assert find_workspace(directory=tmp_path, environ=environ).workspace_name == "space"


@pytest.mark.parametrize("place", [".azureml/config.json", "config.json", "../config.json"])
def test_config_json_is_found(tmp_path: Path, place: str) -> None:
    directory = tmp_path / "project"
    directory.mkdir()
    write_config((directory / place).resolve())
    assert find_workspace(directory=directory, environ={}).workspace_name == "space-c"


def test_the_nearest_config_json_counts(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json")
    write_config(tmp_path / "project" / "config.json", {**CONFIG, "workspace_name": "near"})
    assert find_workspace(directory=tmp_path / "project", environ={}).workspace_name == "near"


def test_the_config_json_of_something_else_is_passed_over(tmp_path: Path) -> None:
    write_config(tmp_path / "config.json")
    write_config(tmp_path / "project" / "config.json", {"hidden_size": 768})
    assert find_workspace(directory=tmp_path / "project", environ={}).workspace_name == "space-c"


def test_nothing_configured_is_explained_in_three_lines(tmp_path: Path) -> None:
    with pytest.raises(NoWorkspaceError) as caught:
        find_workspace(directory=tmp_path, environ={})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "subscription_id, resource_group, workspace_name missing" in lines[0]
    assert "--azureml-subscription-id" in lines[1]
    assert "AZUREML_WORKSPACE_NAME" in lines[1]
    assert ".azureml/config.json" in lines[2]


def test_only_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError) as caught:
        find_workspace(
            subscription_id="sub", workspace_name="space", directory=tmp_path, environ={}
        )
    assert not isinstance(caught.value, NoWorkspaceError)
    assert "resource_group missing" in str(caught.value)
    assert "AZUREML_SUBSCRIPTION_ID" not in str(caught.value)


def test_a_broken_config_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WorkflowError, match=r"config\.json cannot be read"):
        find_workspace(directory=tmp_path, environ={})
