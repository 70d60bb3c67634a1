"""The blob containers behind datastores, and the files that a job leaves in one of them."""

from __future__ import annotations

import abc
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client.errors import translated

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import BlobProperties, ContainerClient

ARTIFACTS = "workspaceartifactstore"
"""The datastore that every workspace keeps the logs and outputs of its jobs in."""

_LOGS = "user_logs/"
_TAIL_BYTES_PER_LINE = 400
_RENEW_BEFORE_S = 600.0


@dataclass(frozen=True, kw_only=True)
class StoreAddress:
    """Where a datastore is and what opens it.

    Attributes
    ----------
    url
        Of the storage account.
    container
        Name of the container.
    sas
        Shared access signature; empty if there is none.
    account_key
        Key of the account, which existing v1 datastores may have; empty if there is none.
    """

    url: str
    container: str
    sas: str = field(default="", repr=False)
    account_key: str = field(default="", repr=False)

    @property
    def expires(self) -> float:
        """When `sas` runs out, in seconds since 1970; infinity without one."""
        end = parse_qs(self.sas.lstrip("?")).get("se", [""])[0]
        return datetime.fromisoformat(end).timestamp() if end else float("inf")

    def open(self, credential: TokenCredential) -> ContainerClient:
        """A client of the container, with `credential` where the datastore holds none itself."""
        from azure.storage.blob import ContainerClient

        secret = self.sas.lstrip("?") or self.account_key or credential
        return ContainerClient(
            self.url,
            self.container,
            credential=secret,
            # A transfer goes on where it stopped, for some seconds; then it is an outage.
            retry_total=2,
            initial_backoff=1,
            increment_base=2,
        )


class BlobBackend(abc.ABC):
    """What both backends do with blobs alone.

    Reading a job's files from where the service puts them, instead of asking either SDK to download
    them, works while the job is still running.
    """

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential
        self._containers: dict[str, tuple[float, ContainerClient]] = {}
        self._containers_lock = threading.Lock()

    @abc.abstractmethod
    def _locate(self, datastore: str) -> StoreAddress:
        """Look a datastore up."""

    def container(self, datastore: str) -> ContainerClient:
        """The blob container behind a datastore, opened anew when its signature runs out."""
        with self._containers_lock:
            expires, client = self._containers.get(datastore, (0.0, None))
            if client is None or expires - time.time() < _RENEW_BEFORE_S:
                with translated(f"open datastore {datastore}"):
                    address = self._locate(datastore)
                client = address.open(self._credential)
                self._containers[datastore] = (address.expires, client)
            return client

    def log_tail(self, name: str, lines: int = 40) -> Sequence[str]:
        """The last lines of the job's first process; empty if it has printed nothing yet."""
        container = self.container(ARTIFACTS)
        with translated(f"read the log of {name}"):
            logs = sorted(
                container.list_blobs(name_starts_with=_folder(name) + _LOGS + "std_log"),
                key=lambda blob: blob.name,
            )
            # std_log.txt, or std_log_process_0.txt where a job has several processes.
            if not logs or not logs[0].size:
                return []
            start = max(0, logs[0].size - lines * _TAIL_BYTES_PER_LINE)
            downloader = container.download_blob(logs[0].name, offset=start)
            text = downloader.readall().decode(errors="replace")
        return text.splitlines()[-lines:]

    def download(self, name: str, destination: Path, *, prefix: str = "") -> None:
        """Bring files of a job up to date in `destination`."""
        container = self.container(ARTIFACTS)
        folder = _folder(name)
        with translated(f"download the files of {name}"):
            for blob in container.list_blobs(name_starts_with=folder + prefix):
                target = (destination / blob.name.removeprefix(folder)).resolve()
                if not target.is_relative_to(destination.resolve()):
                    raise WorkflowError(f"Job {name} has a file outside of its folder: {blob.name}")
                if not _is_current(target, blob):
                    _fetch(container, blob, target)


def _folder(name: str) -> str:
    """Where the service keeps the files of job `name`."""
    return f"ExperimentRun/dcid.{name}/"


def _is_current(target: Path, blob: BlobProperties) -> bool:
    """Whether `target` is what `_fetch` made of this very state of the blob."""
    if not target.is_file():
        return False
    state = target.stat()
    return state.st_size == blob.size and state.st_mtime == blob.last_modified.timestamp()


def _fetch(container: ContainerClient, blob: BlobProperties, target: Path) -> None:
    """Download a blob, whole or not at all, with the time it was changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    with partial.open("wb") as stream:
        # Not a byte beyond the size that was listed: a running job appends to its files.
        if blob.size:
            container.download_blob(blob.name, offset=0, length=blob.size).readinto(stream)
    changed = blob.last_modified.timestamp()
    os.utime(partial, (changed, changed))
    os.replace(partial, target)
