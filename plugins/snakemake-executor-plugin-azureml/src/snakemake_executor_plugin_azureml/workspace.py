"""Which workspace: from the settings, AZUREML_* variables or config.json, in this order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError

_VARIABLES = {
    # The second of each is what the service itself sets inside its jobs and compute instances.
    "subscription_id": ("AZUREML_SUBSCRIPTION_ID", "AZUREML_ARM_SUBSCRIPTION"),
    "resource_group": ("AZUREML_RESOURCE_GROUP", "AZUREML_ARM_RESOURCEGROUP"),
    "workspace_name": ("AZUREML_WORKSPACE_NAME", "AZUREML_ARM_WORKSPACE_NAME"),
}


class NoWorkspaceError(WorkflowError):
    """Nothing at all says which workspace is meant."""


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """An Azure Machine Learning workspace by name."""

    subscription_id: str
    resource_group: str
    workspace_name: str


def find_workspace(
    *,
    subscription_id: str = "",
    resource_group: str = "",
    workspace_name: str = "",
    directory: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Workspace:
    """Find out which workspace is meant.

    Parameters
    ----------
    subscription_id, resource_group, workspace_name
        From the settings; what is empty is looked for in the environment variables
        ``AZUREML_SUBSCRIPTION_ID``, ``AZUREML_RESOURCE_GROUP`` and ``AZUREML_WORKSPACE_NAME`` and
        then in ``.azureml/config.json`` and ``config.json``.
    directory
        Where the search for config.json starts; it goes on in the folders above. The working
        directory if None.
    environ
        The environment variables.

    Raises
    ------
    NoWorkspaceError
        If none of these names anything.
    WorkflowError
        If something is missing, or config.json is not what the portal writes.
    """
    found = {
        "subscription_id": subscription_id,
        "resource_group": resource_group,
        "workspace_name": workspace_name,
    }
    for name, variables in _VARIABLES.items():
        found[name] = found[name] or next(filter(None, map(environ.get, variables)), "")
    if not all(found.values()):
        configured = _read_config(directory or Path.cwd())
        found = {name: value or configured.get(name, "") for name, value in found.items()}
    missing = [name for name, value in found.items() if not value]
    if missing:
        refusal = WorkflowError if any(found.values()) else NoWorkspaceError
        raise refusal(_explain(missing))
    return Workspace(**found)


def _config_files(directory: Path) -> Iterator[Path]:
    """Where config.json conventionally is, nearest first."""
    for folder in (directory.resolve(), *directory.resolve().parents):
        yield folder / ".azureml" / "config.json"
        yield folder / "config.json"


def _read_config(directory: Path) -> dict[str, str]:
    """The nearest config.json that names a workspace; empty if there is none."""
    for path in _config_files(directory):
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WorkflowError(
                f"{path} cannot be read: {error}. "
                "Download config.json again from the workspace's page in the portal."
            ) from error
        # Any project may have a config.json of its own that has nothing to do with Azure.
        if isinstance(content, dict) and "workspace_name" in content:
            return {
                field.name: str(content.get(field.name, "")).strip() for field in fields(Workspace)
            }
    return {}


def _explain(missing: list[str]) -> str:
    """Three lines: what is missing and the two ways to set it."""
    options = ", ".join(f"--azureml-{name.replace('_', '-')}" for name in missing)
    variables = ", ".join(_VARIABLES[name][0] for name in missing)
    return (
        f"No Azure Machine Learning workspace is configured: {', '.join(missing)} missing.\n"
        f"Either set {options} (on the command line or in the profile) or {variables},\n"
        "or save the config.json that the workspace's page on https://ml.azure.com offers "
        "as .azureml/config.json in this folder."
    )
