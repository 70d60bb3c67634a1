"""The backend on azureml-core, for workspaces whose users still work with SDK v1."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client.blobs import BlobBackend, StoreAddress
from snakemake_executor_plugin_azureml.client.errors import JobNotFound, Refused, translated
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobInfo, JobSpec, mount_variable
from snakemake_executor_plugin_azureml.models import ModelInfo
from snakemake_executor_plugin_azureml.sdks import quiet
from snakemake_executor_plugin_azureml.workspace import Workspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_DATASTORE_URI = re.compile(r"azureml://datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)")
_NOT_FOUND = 404
_WAITS = ("DEFAULT_RETRIES", "DEFAULT_BACKOFF", "DEFAULT_500_BACKOFF", "DEFAULT_503_BACKOFF")


@functools.cache
def _sdk() -> Any:
    """The package azureml.core, kept from what it would do behind the plugin's back."""
    quiet()
    import azureml.core
    from azureml._base_sdk_common import tracking
    from azureml._restclient import clientbase

    # RetryingClient waits, says so and knows when to stop.
    for name in _WAITS:
        setattr(clientbase, name, 0)
    # With each submission it would ask git about the empty folder of sources, and to do so change
    # the working directory of the whole process under the feet of every other thread.
    tracking.global_tracking_info_registry.gather_all = lambda *_folder: {}
    return azureml.core


class V1Client(BlobBackend):
    """A workspace through azureml-core; see `Client` for its methods.

    Parameters
    ----------
    workspace
        The workspace.
    credential
        Asked for tokens when the first request is sent.
    """

    def __init__(self, workspace: Workspace, credential: TokenCredential) -> None:
        super().__init__(credential)
        self._names = workspace
        self._experiments: dict[str, Any] = {}
        self._environments: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._connected: Any = None

    @property
    def _workspace(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> Any:
        """The workspace of azureml-core; looking it up takes two requests."""
        core = _sdk()
        from azureml.core.authentication import TokenAuthentication

        def token(audience: str) -> str:
            return self._credential.get_token(audience.rstrip("/") + "/.default").token

        return core.Workspace(
            self._names.subscription_id,
            self._names.resource_group,
            self._names.workspace_name,
            auth=TokenAuthentication(token),
        )

    def submit(self, spec: JobSpec) -> JobInfo:
        """Submit a job and label it, as far as either has not been done."""
        run = self._find(spec.name) or self._start(spec)
        with translated(f"label {spec.name}"):
            if not spec.tags.items() <= run.tags.items():
                run.set_tags(dict(spec.tags))
            if spec.display_name and run.display_name != spec.display_name:
                run.display_name = spec.display_name
            return _info(run)

    def _start(self, spec: JobSpec) -> Any:
        try:
            with (
                translated(f"submit {spec.name}"),
                tempfile.TemporaryDirectory() as nothing,
            ):
                environment = self._environment(spec.environment)
                config = _run_config(spec, environment, nothing)
                return self._experiment(spec.experiment).submit(config, run_id=spec.name)
        except Refused:
            # Perhaps because the name is taken, which the SDK does not tell from other refusals.
            run = self._find(spec.name)
            if run is None:
                raise
            return run

    def get(self, name: str) -> JobInfo:
        """The job `name`."""
        run = self._run(name)
        with translated(f"look up {name}"):
            return _info(run)

    def list(self, *, tags: Mapping[str, str], experiment: str = "") -> Iterator[JobInfo]:
        """The jobs that have all of `tags`, filtered by the service."""
        with translated("list jobs"):
            experiments = (
                [self._experiment(experiment)]
                if experiment
                else _sdk().Experiment.list(self._workspace)
            )
            for each in experiments:
                yield from map(_info, _sdk().Run.list(each, tags=dict(tags) or None))

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        run = self._run(name)
        with translated(f"cancel {name}"):
            run.cancel()

    def ensure_environment(self, spec: EnvironmentSpec) -> str:
        """Register an environment unless it is there already."""
        name_version = f"{spec.name}:{spec.version}"
        with self._lock:
            try:
                with translated(f"look up environment {name_version}"):
                    self._environment(name_version)
            except Refused as refusal:
                if refusal.status != _NOT_FOUND:
                    raise
                with translated(f"register environment {name_version}"):
                    self._environments[name_version] = _environment(spec).register(self._workspace)
        return name_version

    def _locate(self, datastore: str) -> StoreAddress:
        found = _sdk().Datastore.get(self._workspace, datastore)
        return StoreAddress(
            url=f"{found.protocol}://{found.account_name}.blob.{found.endpoint}",
            container=found.container_name,
            sas=found.sas_token or "",
            account_key=found.account_key or "",
        )

    def register_model(
        self, name: str, path: Path, *, tags: Mapping[str, str], description: str = ""
    ) -> str:
        """Register a file or a folder as the next version of a model."""
        with translated(f"register model {name}"), _below_working_directory(path) as staged:
            # The SDK prints its progress.
            with contextlib.redirect_stdout(io.StringIO()):
                model = _sdk().Model.register(
                    self._workspace,
                    model_path=str(staged),
                    model_name=name,
                    tags=dict(tags),
                    description=description,
                )
            return f"{model.name}:{model.version}"

    def list_models(self, name: str = "") -> Iterator[ModelInfo]:
        """The versions of a model, newest first."""
        with translated("list models"):
            found = _sdk().Model.list(self._workspace, name=name or None, expand=False)
            models = [_model_info(model) for model in found]
            yield from sorted(models, key=lambda model: (model.name, -model.version))

    def tag_model(self, name_version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version of a model, or change them."""
        name, _, version = name_version.partition(":")
        with translated(f"tag model {name_version}"):
            model = _sdk().Model(self._workspace, name, version=int(version))
            model.update(tags={**model.tags, **tags})

    def download_model(self, name_version: str, destination: Path) -> Path:
        """Download a model."""
        name, _, version = name_version.partition(":")
        with translated(f"download model {name_version}"):
            number = int(version) if version else None
            model = _sdk().Model(self._workspace, name, version=number)
            destination.mkdir(parents=True, exist_ok=True)
            return Path(model.download(str(destination), exist_ok=True))

    def _experiment(self, name: str) -> Any:
        with self._lock:
            if name not in self._experiments:
                self._experiments[name] = _sdk().Experiment(self._workspace, name)
            return self._experiments[name]

    def _environment(self, name_version: str) -> Any:
        with self._lock:
            if name_version not in self._environments:
                name, _, version = name_version.partition(":")
                self._environments[name_version] = _sdk().Environment.get(
                    self._workspace, name, version=version or None
                )
            return self._environments[name_version]

    def _find(self, name: str) -> Any:
        """The run of this name; None if there is none."""
        try:
            return self._run(name)
        except JobNotFound:
            return None

    def _run(self, name: str) -> Any:
        try:
            with translated(f"look up {name}"):
                return _sdk().Run.get(self._workspace, name)
        except Refused as refusal:
            if refusal.status == _NOT_FOUND:
                raise JobNotFound(
                    f"Workspace {self._names.workspace_name} has no job {name}."
                ) from None
            raise


def _run_config(spec: JobSpec, environment: Any, source_directory: str) -> Any:
    """`spec` in the words of azureml-core, which insists on a folder of sources."""
    core = _sdk()
    from azureml.core.runconfig import DockerConfiguration, PyTorchConfiguration

    if not spec.compute:
        raise WorkflowError(
            f"Job {spec.name} names no compute, and azureml-core knows no serverless compute. "
            "Set azureml-compute to the name of a cluster, or use azureml-sdk v2."
        )
    distributed = (
        PyTorchConfiguration(
            process_count=spec.nodes * spec.processes_per_node, node_count=spec.nodes
        )
        if spec.processes_per_node
        else None
    )
    config = core.ScriptRunConfig(
        source_directory,
        command=_shell(spec),
        compute_target=spec.compute,
        environment=environment,
        distributed_job_config=distributed,
        docker_runtime_config=DockerConfiguration(use_docker=True, shm_size=spec.shm_size),
        **({"max_run_duration_seconds": spec.timeout_s} if spec.timeout_s else {}),
    )
    run_config = config.run_config
    run_config.history.snapshot_project = False
    run_config.node_count = spec.nodes
    identity = {"AZURE_CLIENT_ID": spec.identity_client_id} if spec.identity_client_id else {}
    run_config.environment_variables = dict(spec.env) | identity
    run_config.data_references = {
        name: _data_reference(name, uri)
        for name, uri in (*spec.inputs.items(), *spec.mounts.items())
    }
    return config


def _data_reference(name: str, uri: str) -> Any:
    """A mounted folder of a datastore."""
    from azureml.core.runconfig import DataReferenceConfiguration

    match = _DATASTORE_URI.fullmatch(uri)
    if match is None:
        raise WorkflowError(
            f"{name}: {uri} is not azureml://datastores/<datastore>/paths/<path>, the only "
            "thing that azureml-core mounts. Use azureml-sdk v2 for data assets."
        )
    return DataReferenceConfiguration(
        datastore_name=match["datastore"], path_on_datastore=match["path"], mode="mount"
    )


def _shell(spec: JobSpec) -> str:
    """The command, preceded by where its mounts are."""
    where = [
        f'export {mount_variable(name)}="$AZUREML_DATAREFERENCE_{name}"'
        for name in (*spec.inputs, *spec.mounts)
    ]
    return "\n".join([*where, spec.command])


def _environment(spec: EnvironmentSpec) -> Any:
    """`spec` in the words of azureml-core."""
    core = _sdk()
    if spec.conda:
        with tempfile.TemporaryDirectory() as folder:
            conda_file = Path(folder) / "environment.yaml"
            conda_file.write_text(spec.conda, encoding="utf-8")
            environment = core.Environment.from_conda_specification(spec.name, str(conda_file))
    else:
        environment = core.Environment(spec.name)
        environment.python.user_managed_dependencies = True
    environment.version = spec.version
    environment.docker.base_image = spec.image
    return environment


def _info(run: Any) -> JobInfo:
    """A run of azureml-core in the plugin's words, from what the SDK has just read."""
    # What is public of this either sends another request or converts all of it each time.
    described = run._client.run_dto
    return JobInfo(
        name=run.id,
        status=described.status,
        experiment=run.experiment.name,
        tags=dict(described.tags or {}),
        url=run.get_portal_url(),
        created=described.created_utc,
        display_name=described.display_name or "",
        compute=described.target or "",
    )


def _model_info(model: Any) -> ModelInfo:
    """A model of azureml-core in the plugin's words."""
    return ModelInfo(
        name=model.name,
        version=int(model.version),
        description=model.description or "",
        tags=dict(model.tags or {}),
        created=model.created_time,
    )


@contextlib.contextmanager
def _below_working_directory(path: Path) -> Iterator[Path]:
    """`path`, or a link to it that azureml-core takes for a part of the working directory."""
    path = path.resolve()
    here = Path.cwd()
    if path.is_relative_to(here):
        yield path
        return
    with tempfile.TemporaryDirectory(dir=here, prefix=".azureml-model-") as folder:
        link = Path(folder) / path.name
        link.symlink_to(path)
        yield link
