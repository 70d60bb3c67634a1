"""The AzureML workspace that is meant, through the executor plugin where it is installed."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError

PLUGIN = "snakemake_executor_plugin_azureml"
"""Imported by name at run time: Crossfold runs without Azure."""

PROFILE = Path("azureml")
"""Folder of the Snakemake profile whose settings name the workspace."""


class NoWorkspaceError(CrossfoldError):
    """There is no plugin, or nothing says which workspace is meant."""


class Connection:
    """The workspace that a profile, the environment or config.json names; nothing is sent yet.

    Parameters
    ----------
    profile
        Folder of the Snakemake profile; its settings count where it exists.
    sdk
        v2 or v1; empty: what the profile says.
    otherwise
        What can be done without a workspace, for the errors.

    Attributes
    ----------
    settings, client
        Of the plugin.

    Raises
    ------
    NoWorkspaceError
        If the plugin is not installed, or no workspace is configured.
    CrossfoldError
        If a workspace is configured in part, or the profile is wrong.
    """

    def __init__(self, profile: Path, sdk: str = "", *, otherwise: str) -> None:
        self._otherwise = otherwise
        runs, missing = self.module("runs"), self.module("workspace").NoWorkspaceError
        self.refusal: type[Exception] = runs.WorkflowError
        file = profile / "profile.yaml"
        with self.readable():
            try:
                self.settings = runs.read_settings(file if file.is_file() else None, sdk=sdk)
                self.client = runs.open_client(self.settings)
            except missing as error:
                raise NoWorkspaceError(str(error), remedy=f"do that, or {otherwise}") from error

    def module(self, name: str) -> Any:
        """Return a module of the plugin.

        Raises
        ------
        NoWorkspaceError
            If it is not installed.
        """
        try:
            return importlib.import_module(f"{PLUGIN}.{name}")
        except ModuleNotFoundError as error:
            raise NoWorkspaceError(
                f"Azure Machine Learning needs the package {error.name}, which is not installed",
                remedy=f"run `make setup-azureml`, or {self._otherwise}",
            ) from error

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Turn what the plugin refuses into errors of Crossfold."""
        try:
            yield
        except self.refusal as error:
            raise CrossfoldError(str(error)) from error
