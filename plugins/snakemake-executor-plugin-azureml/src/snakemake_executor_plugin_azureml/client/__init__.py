"""One interface to Azure Machine Learning, two SDKs behind it.

Each backend imports its SDK when it is first used, so that importing this package costs nothing and
a dry run works where neither SDK is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client.errors import JobNotFound, Unavailable
from snakemake_executor_plugin_azureml.credentials import find_credential
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobInfo, JobSpec
from snakemake_executor_plugin_azureml.models import ModelInfo
from snakemake_executor_plugin_azureml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient

    from snakemake_executor_plugin_azureml.client.retrying import Patience, RetryingClient

__all__ = ["Client", "JobNotFound", "Sdk", "Unavailable", "connect"]

Sdk = Literal["v2", "v1"]

_MODULES = {"v2": ("azure.ai.ml", "azure-ai-ml"), "v1": ("azureml.core", "azureml-core")}


class Client(Protocol):
    """What the plugin and its users ask of a workspace.

    Every method raises `Unavailable` where the service does not answer and WorkflowError where it
    refuses. All of them may be called from several threads.
    """

    def submit(self, spec: JobSpec) -> JobInfo:
        """Submit a job; if a job of this name exists already, that job is the answer."""

    def get(self, name: str) -> JobInfo:
        """The job `name`.

        Raises
        ------
        JobNotFound
            If the workspace has no such job.
        """

    def list(self, *, tags: Mapping[str, str], experiment: str = "") -> Iterator[JobInfo]:
        """The jobs that have all of `tags`, newest first, in one paged request.

        The first tag should be the one with the rarest name: azure-ai-ml lets the service look for
        that name alone, and the rest is compared here. azureml-core asks for one experiment at a
        time, so that an empty `experiment` costs a request for each experiment of the workspace.
        """

    def cancel(self, name: str) -> None:
        """Ask for the end of a job; does not wait for it. A job that has ended stays as it is."""

    def log_tail(self, name: str, lines: int = 40) -> Sequence[str]:
        """The last lines of what the command of a running or finished job has printed."""

    def download(self, name: str, destination: Path, *, prefix: str = "") -> None:
        """Bring files of a running or finished job up to date in `destination`.

        Only those whose path starts with `prefix` (``logs/``, ``outputs/``, ``user_logs/``), and
        only what has changed since the last time.
        """

    def ensure_environment(self, spec: EnvironmentSpec) -> str:
        """Register an environment unless it is there already; returns ``name:version``."""

    def container(self, datastore: str) -> ContainerClient:
        """The blob container behind a datastore.

        Ask again rather than keep it for hours: where access is by a signature, it runs out.
        """

    def register_model(
        self, name: str, path: Path, *, tags: Mapping[str, str], description: str = ""
    ) -> str:
        """Register a file or a folder as the next version of a model; returns ``name:version``."""

    def list_models(self, name: str = "") -> Iterator[ModelInfo]:
        """The versions of a model, newest first; none if it does not exist.

        Without a name, those of all models. azure-ai-ml then sends a request for each model.
        """

    def tag_model(self, name_version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version of a model, or change them; its other tags stay."""

    def download_model(self, name_version: str, destination: Path) -> Path:
        """Download a model into `destination`; without ``:version``, its latest version.

        Returns
        -------
        pathlib.Path
            The file or folder that was registered, under `destination` with the name it had.
        """


def connect(
    sdk: Sdk,
    workspace: Workspace,
    *,
    credential: TokenCredential | None = None,
    patience: Patience | None = None,
) -> RetryingClient:
    """A client of `workspace`. Sends nothing before it is asked for something.

    Parameters
    ----------
    sdk
        ``v2`` for azure-ai-ml, ``v1`` for azureml-core.
    workspace
        The workspace.
    credential
        The default login if None.
    patience
        How to wait when the service does not answer.

    Raises
    ------
    WorkflowError
        If `sdk` is unknown or not installed.
    """
    from snakemake_executor_plugin_azureml.client.retrying import RetryingClient

    if sdk not in _MODULES:
        raise WorkflowError(f"azureml-sdk {sdk!r} is not one of v2 and v1.")
    _require(sdk)
    credential = credential or find_credential()
    backend: Client
    if sdk == "v2":
        from snakemake_executor_plugin_azureml.client.v2 import V2Client

        backend = V2Client(workspace, credential)
    else:
        from snakemake_executor_plugin_azureml.client.v1 import V1Client

        backend = V1Client(workspace, credential)
    return RetryingClient(backend, patience)


def _require(sdk: Sdk) -> None:
    """Refuse an SDK that is not installed, without importing it."""
    module, package = _MODULES[sdk]
    try:
        installed = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        installed = False
    if not installed:
        raise WorkflowError(
            f"azureml-sdk {sdk} needs the package {package}, which is not installed here. "
            f"Run: pip install 'snakemake-executor-plugin-azureml[{sdk}]'"
        )
