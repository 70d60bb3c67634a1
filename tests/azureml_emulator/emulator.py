"""The emulator: everything put together, and what tests tell it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from azureml_emulator import (
    arm_api,
    artifacts_api,
    control_api,
    history_api,
    identity_api,
    v1_assets,
    v1_runs,
    v2_assets,
    v2_jobs,
)
from azureml_emulator.azurite import Azurite
from azureml_emulator.blob_proxy import BlobConnection
from azureml_emulator.certificate import Certificate, make_certificate
from azureml_emulator.cluster import Cluster
from azureml_emulator.faults import Fault, Faults
from azureml_emulator.recording import RecordedRequest, Recorder
from azureml_emulator.routing import Request, Response, Router
from azureml_emulator.server import ApiConnection, HttpsServer
from azureml_emulator.service import Service
from azureml_emulator.state import TERMINAL, Compute, Job, Workspace
from azureml_emulator.storage import BLOBSTORE, Location, Storage
from azureml_emulator.v2_jobs import parse_job

CLOUD = "AzureMLEmulator"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
RESOURCE_GROUP = "emulator-group"
WORKSPACE_NAME = "emulator-workspace"
COMPUTES = (Compute("cpu-cluster"), Compute("gpu-cluster"))
APIS = (
    arm_api,
    identity_api,
    v2_jobs,
    v2_assets,
    v1_runs,
    v1_assets,
    history_api,
    artifacts_api,
    control_api,
)


class Emulator:
    """A running AzureML on loopback.

    Parameters
    ----------
    azurite
        The blob storage behind it; may be shared.
    folder
        Certificate, requests.jsonl, HOME of the clients and the disks of the nodes lie in it.
    computes
        The clusters; `add_compute` adds more.
    pace_s
        How long a job stays in each of the states before `Running`.
    port
        Of the API; 0 takes a free one.
    certificate
        That the servers show; by default a new one.
    """

    def __init__(
        self,
        azurite: Azurite,
        folder: Path,
        *,
        computes: Sequence[Compute] = COMPUTES,
        pace_s: float = 0.05,
        port: int = 0,
        certificate: Certificate | None = None,
    ) -> None:
        self.folder = folder
        self._certificate = certificate or make_certificate(folder)
        self._recorder = Recorder(folder / "requests.jsonl")
        self._faults = Faults()
        context = self._certificate.context()
        shared = {"faults": self._faults, "recorder": self._recorder}
        blob_settings = {"upstream_url": azurite.url, "sas": azurite.make_sas(), **shared}
        blob_connection = type("BlobConnection", (BlobConnection,), blob_settings)
        self._blob_server = HttpsServer(blob_connection, context)
        self._storage = Storage(azurite, self._blob_server.url)
        self.workspace = Workspace(SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE_NAME, self._storage)
        for compute in computes:
            self.workspace.add_compute(compute)
        dispatch = staticmethod(self._dispatch)
        api_connection = type("ApiConnection", (ApiConnection,), {"dispatch": dispatch, **shared})
        self._api_server = HttpsServer(api_connection, context, port)
        self._cluster = Cluster(folder / "nodes", self._faults, pace_s=pace_s)
        self._service = Service(
            url=self.url,
            cloud=CLOUD,
            workspaces=[self.workspace],
            cluster=self._cluster,
            faults=self._faults,
        )
        self._router = Router(*(api.routes for api in APIS))
        self._blob_server.start()
        self._api_server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the API."""
        return self._api_server.url

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead both SDKs, unmodified, to the emulator and its workspace.

        They make a whole environment of a process but for PATH; HOME is private since the SDKs keep
        caches there. `AZUREML_EMULATOR_TOKEN` is a token to be used as it is;
        `DefaultAzureCredential` finds one by itself.
        """
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {
            "HOME": str(home),
            "AZURE_CONFIG_DIR": str(home / ".azure"),
            "REQUESTS_CA_BUNDLE": str(self._certificate.authority),
            "SSL_CERT_FILE": str(self._certificate.authority),
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints",
            "AZUREML_CURRENT_CLOUD": CLOUD,
            "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{self.url}/",
            "IDENTITY_ENDPOINT": f"{self.url}{identity_api.IDENTITY_PATH}",
            "IDENTITY_HEADER": "emulator",
            "AZUREML_EMULATOR_URL": self.url,
            "AZUREML_EMULATOR_TOKEN": identity_api.make_token(),
            "AZUREML_SUBSCRIPTION_ID": self.workspace.subscription_id,
            "AZUREML_RESOURCE_GROUP": self.workspace.resource_group,
            "AZUREML_WORKSPACE_NAME": self.workspace.name,
            "NO_PROXY": "localhost,127.0.0.1",
            "no_proxy": "localhost,127.0.0.1",
        }

    @property
    def process_environment(self) -> dict[str, str]:
        """`environment` with the PATH of this process: all that a subprocess needs."""
        return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self.environment}

    def requests(
        self, *, method: str = "", path: str = "", service: str = ""
    ) -> list[RecordedRequest]:
        """The requests so far, oldest first; `path` is a regular expression to be found in it."""
        return self._recorder.find(method=method, path=path, service=service)

    def forget_requests(self) -> None:
        """Begin to count anew."""
        self._recorder.clear()

    @property
    def requests_file(self) -> Path:
        """All requests ever, one JSON object per line."""
        return self._recorder.path

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        return list(self.workspace.jobs.values())

    def job(self, name: str) -> Job:
        """The job of this name.

        Raises
        ------
        KeyError
            There is none.
        """
        return self.workspace.jobs[name]

    def wait_for(self, name: str, *statuses: str, timeout_s: float = 30) -> Job:
        """Wait until a job has one of these statuses, by default: until it is over.

        Raises
        ------
        TimeoutError
            It has none of them in time.
        """
        wanted = statuses or TERMINAL
        self.wait_until(
            lambda: name in self.workspace.jobs and self.job(name).status in wanted,
            timeout_s=timeout_s,
        )
        return self.job(name)

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float = 30) -> None:
        """Wait until a condition is true.

        Raises
        ------
        TimeoutError
            It is not in time; the message has the states of all jobs.
        """
        end = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end:
                states = ", ".join(f"{job.name} {job.status}" for job in self.jobs())
                raise TimeoutError(f"Waited {timeout_s:g} s in vain. Jobs: {states or 'none'}")
            time.sleep(0.01)

    def add_jobs(self, properties: dict[str, Any], *, count: int, status: str = "") -> list[Job]:
        """Add jobs that were never submitted and never run: a workspace with a history.

        `properties` are those of a job as azure-ai-ml submits it. Their names are `added-<number>`.
        """
        first = len(self.workspace.jobs) + 1
        names = [f"added-{number}" for number in range(first, first + count)]
        jobs = [parse_job(self.workspace, name, properties) for name in names]
        for job in jobs:
            self.workspace.add_job(job).move_to(status or "Queued")
        return jobs

    def blobs(self, prefix: str = "", datastore: str = BLOBSTORE) -> dict[str, bytes]:
        """What a datastore holds below a prefix."""
        container = self._storage.client(datastore)
        names = container.list_blob_names(name_starts_with=prefix)
        return {name: container.download_blob(name).readall() for name in names}

    def put_blob(self, path: str, content: bytes, datastore: str = BLOBSTORE) -> None:
        """Write a blob, unseen by requests()."""
        self._storage.client(datastore).upload_blob(path, content, overwrite=True)

    def blob_url(self, path: str = "", datastore: str = BLOBSTORE) -> str:
        """A signed HTTPS address of a blob, or of the container."""
        return self._storage.url(Location(datastore, path))

    def add_compute(self, name: str, *, max_nodes: int = 4, **settings: Any) -> None:
        """Add a cluster, or change how many nodes it has."""
        self.workspace.add_compute(Compute(name, max_nodes=max_nodes, **settings))

    def add_fault(self, kind: str, **settings: Any) -> Fault:
        """Let a fault happen; see `faults.Fault` for kinds and settings."""
        return self._faults.add(Fault.parse({"kind": kind, **settings}))

    def throttle(self, path: str, count: int = 1, **settings: Any) -> Fault:
        """Answer the next requests whose path fits with 429."""
        return self.add_fault("throttle", path=path, count=count, **settings)

    def preempt(self, job: str, **settings: Any) -> Fault:
        """Preempt a job `seconds` after its start, or when `log` or `mount` shows a pattern."""
        return self.add_fault("preempt", job=job, **settings)

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def stop(self) -> None:
        """Cancel all jobs, stop the servers, remove the containers; requests.jsonl stays."""
        self._cluster.stop()
        self._api_server.stop()
        self._blob_server.stop()
        self._storage.close()
        self._recorder.close()

    def _dispatch(self, request: Request) -> Response:
        handler = self._router.find(request)
        arm_api.require_token(request)
        return handler(self._service, request)
