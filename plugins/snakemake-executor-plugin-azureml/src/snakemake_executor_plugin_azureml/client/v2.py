"""The backend on azure-ai-ml, Microsoft's current SDK."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from snakemake_executor_plugin_azureml.client.blobs import BlobBackend, StoreAddress
from snakemake_executor_plugin_azureml.client.errors import JobNotFound, Refused, translated
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobInfo, JobSpec, mount_variable
from snakemake_executor_plugin_azureml.models import ModelInfo
from snakemake_executor_plugin_azureml.sdks import quiet, unchanged_environment
from snakemake_executor_plugin_azureml.workspace import Workspace

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Command, Job, Model
    from azure.core.credentials import TokenCredential

_BAD_REQUEST = 400
_FORBIDDEN = 403
_NOT_FOUND = 404
_CONFLICT = 409


class V2Client(BlobBackend):
    """A workspace through azure-ai-ml; see `Client` for its methods.

    Parameters
    ----------
    workspace
        The workspace.
    credential
        Asked for tokens when the first request is sent.
    """

    def __init__(self, workspace: Workspace, credential: TokenCredential) -> None:
        super().__init__(credential)
        self._workspace = workspace
        self._environments: set[str] = set()
        self._lock = threading.RLock()
        self._connected: MLClient | None = None

    @property
    def _ml(self) -> MLClient:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> MLClient:
        quiet()
        with unchanged_environment("AZUREML_CURRENT_CLOUD"):
            from azure.ai.ml import MLClient

            _remember_private_cloud()
            client = MLClient(
                self._credential,
                self._workspace.subscription_id,
                self._workspace.resource_group,
                self._workspace.workspace_name,
                show_progress=False,
                enable_telemetry=False,
                # RetryingClient tries again, says so and knows when to stop.
                retry_total=0,
            )
        quiet()  # again, since importing and connecting raise the level of its loggers
        return client

    def submit(self, spec: JobSpec) -> JobInfo:
        """Submit a job; a single request."""
        try:
            with translated(f"submit {spec.name}"):
                return _info(self._ml.jobs.create_or_update(_command(spec)))
        except Refused as refusal:
            # To the service, a name that is taken is a bad request or a conflict.
            with contextlib.suppress(JobNotFound):
                if refusal.status in (_BAD_REQUEST, _CONFLICT):
                    return self.get(spec.name)
            raise

    def get(self, name: str) -> JobInfo:
        """The job `name`."""
        try:
            with translated(f"look up {name}"):
                return _info(self._ml.jobs.get(name))
        except Refused as refusal:
            if refusal.status == _NOT_FOUND:
                raise _not_found(name, self._workspace) from None
            raise

    def list(self, *, tags: Mapping[str, str], experiment: str = "") -> Iterator[JobInfo]:
        """The jobs that have all of `tags`; the service looks for the name of the first."""
        # The service's filter knows the names of tags only, and neither values nor experiments.
        filters = {"tag": next(iter(tags))} if tags else {}
        with translated("list jobs"):
            for job in self._ml.jobs.list(**filters):
                if job is None:
                    continue
                info = _info(job)
                if experiment in ("", info.experiment) and tags.items() <= info.tags.items():
                    yield info

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        try:
            with translated(f"cancel {name}"):
                self._ml.jobs.begin_cancel(name, polling=False)
        except Refused as refusal:
            if refusal.status == _NOT_FOUND:
                raise _not_found(name, self._workspace) from None
            if refusal.status not in (_BAD_REQUEST, _CONFLICT):  # it has ended in the meantime
                raise

    def ensure_environment(self, spec: EnvironmentSpec) -> str:
        """Register an environment unless it is there already."""
        from azure.core.exceptions import ResourceNotFoundError

        name_version = f"{spec.name}:{spec.version}"
        with translated(f"register environment {name_version}"), self._lock:
            if name_version not in self._environments:
                try:
                    self._ml.environments.get(spec.name, spec.version)
                except ResourceNotFoundError:
                    self._ml.environments.create_or_update(_environment(spec))
                self._environments.add(name_version)
        return name_version

    def _locate(self, datastore: str) -> StoreAddress:
        from azure.core.exceptions import HttpResponseError

        try:
            found: Any = self._ml.datastores.get(datastore, include_secrets=True)
        except HttpResponseError as error:
            if error.status_code != _FORBIDDEN:
                raise
            # Whoever may not list secrets may still have a role on the storage account itself.
            found = self._ml.datastores.get(datastore)
        return StoreAddress(
            url=f"{found.protocol}://{found.account_name}.blob.{found.endpoint}",
            container=found.container_name,
            sas=getattr(found.credentials, "sas_token", None) or "",
            account_key=getattr(found.credentials, "account_key", None) or "",
        )

    def register_model(
        self, name: str, path: Path, *, tags: Mapping[str, str], description: str = ""
    ) -> str:
        """Register a file or a folder as the next version of a model."""
        with translated(f"register model {name}"):
            from azure.ai.ml.entities import Model

            model = self._ml.models.create_or_update(
                Model(
                    name=name,
                    path=str(path.resolve()),
                    type="custom_model",
                    tags=dict(tags),
                    description=description,
                )
            )
            return f"{model.name}:{model.version}"

    def list_models(self, name: str = "") -> Iterator[ModelInfo]:
        """The versions of a model, newest first."""
        from azure.core.exceptions import ResourceNotFoundError

        with translated("list models"):
            # Without a name, the service lists models, not their versions.
            names = [name] if name else [str(model.name) for model in self._ml.models.list()]
            for known in names:
                with contextlib.suppress(ResourceNotFoundError):
                    found = [_model_info(model) for model in self._ml.models.list(known)]
                    yield from sorted(found, key=lambda model: -model.version)

    def tag_model(self, name_version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version of a model, or change them."""
        name, _, version = name_version.partition(":")
        with translated(f"tag model {name_version}"):
            model = self._ml.models.get(name, version)
            model.tags = {**(model.tags or {}), **tags}
            self._ml.models.create_or_update(model)

    def download_model(self, name_version: str, destination: Path) -> Path:
        """Download a model."""
        name, _, version = name_version.partition(":")
        with translated(f"download model {name_version}"):
            if not version:
                version = str(self._ml.models.get(name, label="latest").version)
            destination.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=destination, prefix=".") as staging:
                self._ml.models.download(name, version, download_path=staging)
                # The SDK puts the file or folder that was registered into a folder of the name.
                (content,) = (Path(staging) / name).iterdir()
                target = destination / content.name
                if target.is_dir():
                    shutil.rmtree(target)
                return Path(shutil.move(content, target))


def _remember_private_cloud() -> None:
    """Read the addresses of a private cloud once.

    azure-ai-ml does not keep what it finds at ARM_CLOUD_METADATA_URL, and would ask again for every
    job of a list.
    """
    name, url = (os.environ.get(key) for key in ("AZUREML_CURRENT_CLOUD", "ARM_CLOUD_METADATA_URL"))
    if name and url:
        from azure.ai.ml import _azure_environments as clouds

        found = clouds._get_clouds_by_metadata_url(url)
        if name in found:
            clouds._environments[name] = found[name]


def _command(spec: JobSpec) -> Command:
    """`spec` in the words of azure-ai-ml."""
    from azure.ai.ml import Input, Output, PyTorchDistribution, command
    from azure.ai.ml.entities import ManagedIdentityConfiguration, QueueSettings

    identity = spec.identity_client_id
    optional: dict[str, Any] = {}
    if spec.processes_per_node:
        optional["distribution"] = PyTorchDistribution(
            process_count_per_instance=spec.processes_per_node
        )
    if identity:
        optional["identity"] = ManagedIdentityConfiguration(client_id=identity)
    if spec.timeout_s:
        optional["timeout"] = spec.timeout_s
    job = command(
        name=spec.name,
        display_name=spec.display_name or spec.name,
        experiment_name=spec.experiment,
        command=_shell(spec),
        environment=spec.environment,
        compute=spec.compute or None,
        inputs={
            name: Input(type="uri_folder", path=uri, mode="ro_mount")
            for name, uri in spec.inputs.items()
        },
        outputs={
            name: Output(type="uri_folder", path=uri, mode="rw_mount")
            for name, uri in spec.mounts.items()
        },
        environment_variables=dict(spec.env) | ({"AZURE_CLIENT_ID": identity} if identity else {}),
        tags=dict(spec.tags),
        shm_size=spec.shm_size,
        instance_count=spec.nodes,
        **optional,
    )
    if not spec.compute and spec.tier == "low_priority":
        job.queue_settings = QueueSettings(job_tier="spot")
    return job


def _shell(spec: JobSpec) -> str:
    """The command, preceded by where its mounts are."""
    where = [
        f'export {mount_variable(name)}="${{{{{kind}.{name}}}}}"'
        for kind, names in (("inputs", spec.inputs), ("outputs", spec.mounts))
        for name in names
    ]
    return "\n".join([*where, _escape(spec.command)])


def _escape(command: str) -> str:
    """`command` in a form that the service does not take for a template of its own."""
    if "${{" not in command:
        return command
    encoded = base64.b64encode(command.encode()).decode()
    return f'eval "$(echo {encoded} | base64 -d)"'


def _environment(spec: EnvironmentSpec) -> Any:
    """`spec` in the words of azure-ai-ml."""
    from azure.ai.ml.entities import Environment

    return Environment(
        name=spec.name,
        version=spec.version,
        image=spec.image,
        conda_file=yaml.safe_load(spec.conda) if spec.conda else None,
    )


def _info(job: Job) -> JobInfo:
    """A job of azure-ai-ml in the plugin's words."""
    context = job.creation_context
    return JobInfo(
        name=str(job.name),
        status=str(getattr(job.status, "value", job.status)),
        experiment=str(getattr(job, "experiment_name", "")),
        tags=dict(job.tags or {}),
        url=job.studio_url or "",
        created=context.created_at if context else None,
        display_name=job.display_name or "",
        # In a list, it is the address of the cluster.
        compute=str(getattr(job, "compute", "") or "").rpartition("/")[2],
    )


def _model_info(model: Model) -> ModelInfo:
    """A model of azure-ai-ml in the plugin's words."""
    context = model.creation_context
    return ModelInfo(
        name=str(model.name),
        version=int(model.version or 0),
        description=model.description or "",
        tags=dict(model.tags or {}),
        created=context.created_at if context else None,
    )


def _not_found(name: str, workspace: Workspace) -> JobNotFound:
    return JobNotFound(f"Workspace {workspace.workspace_name} has no job {name}.")
