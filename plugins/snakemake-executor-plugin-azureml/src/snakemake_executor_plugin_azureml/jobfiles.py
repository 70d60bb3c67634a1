"""The files that a running or finished job shows, found by their names and brought up to date."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client import Client
from snakemake_executor_plugin_azureml.client.blobs import ARTIFACTS
from snakemake_executor_plugin_azureml.client.errors import translated
from snakemake_executor_plugin_azureml.fetching import read_result
from snakemake_executor_plugin_azureml.jobs import JobInfo
from snakemake_executor_plugin_azureml.packing import Manifest
from snakemake_executor_plugin_azureml.runner import blob_path, job_path
from snakemake_executor_plugin_azureml.settings import ExecutorSettings
from snakemake_executor_plugin_azureml.store import Store

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties, ContainerClient

Chooser = Callable[[str], bool]
"""Says of a path of a job whether it is wanted."""


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """A file of a job.

    Attributes
    ----------
    path
        In the job's working directory, or in what the service keeps of it (``outputs/…``).
    blob
        Name of the blob that holds it, in `container`.
    changed
        When it was last changed, in seconds since 1970; 0 for a content that never changes.
    digest
        SHA-256 of the content; empty where it is not known.
    """

    path: str
    blob: str
    container: ContainerClient
    size: int
    changed: float = 0.0
    digest: str = ""


class JobFiles:
    """Looks for files of jobs in all places where a job may leave some.

    These are what the service itself keeps of every job (``outputs/`` and ``logs/``), the folders
    that outlive a job (`azureml_mounts`) and, once it has ended, the files that it brings back.

    Parameters
    ----------
    client
        Opens the containers.
    settings
        Where the executor keeps files: `datastore` and `prefix`.
    """

    def __init__(self, client: Client, settings: ExecutorSettings) -> None:
        self._client = client
        self._settings = settings

    def find(self, job: JobInfo, wanted: Chooser) -> Iterator[JobFile]:
        """Yield the files whose path is wanted, each path once; what a job brings back comes first.

        Raises
        ------
        WorkflowError
            If the storage refuses or does not answer.
        """
        seen: set[str] = set()
        with translated(f"look for files of {job.name}"):
            for file in (*self._products(job), *self._lasting(job, wanted), *self._kept(job)):
                if file.path not in seen and wanted(file.path):
                    seen.add(file.path)
                    yield file

    def bring(self, file: JobFile, folder: Path) -> Path:
        """Download a file to its path below `folder` unless it is there in the same state.

        Raises
        ------
        WorkflowError
            If its path leads out of the folder, its content is damaged, or it is gone (`Refused`).
        """
        target = folder / file.path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise WorkflowError(f"A job has a file outside of its folder: {file.path}")
        if target.is_file():
            state = target.stat()
            if state.st_size == file.size and file.changed in (0.0, state.st_mtime):
                return target
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        with translated(f"download {file.path}"):
            if file.digest:
                self._store.download(file.digest, part)
            else:
                _download(file, part)
        os.replace(part, target)
        return target

    @property
    def _container(self) -> ContainerClient:
        return self._client.container(self._settings.datastore)

    @property
    def _store(self) -> Store:
        return Store(self._container, self._settings.prefix)

    def _products(self, job: JobInfo) -> Iterator[JobFile]:
        result = read_result(self._store, job.name)
        for file in result.products.files if result else ():
            yield JobFile(
                path=file.path,
                blob=self._name(blob_path(file.digest)),
                container=self._container,
                size=file.size,
                digest=file.digest,
            )

    def _lasting(self, job: JobInfo, wanted: Chooser) -> Iterator[JobFile]:
        text = self._store.read(job_path(job.name, "manifest.json"))
        mounts = Manifest.from_json(text).mounts if text else {}
        for path, target in mounts.items():
            folder = self._name(target) + "/"
            for blob in self._container.list_blobs(name_starts_with=folder):
                below = blob.name.removeprefix(folder)
                if wanted(f"{path}/{below}") and belongs(below, job):
                    yield _of_blob(f"{path}/{below}", blob, self._container)

    def _kept(self, job: JobInfo) -> Iterator[JobFile]:
        container = self._client.container(ARTIFACTS)
        folder = f"ExperimentRun/dcid.{job.name}/"
        for blob in container.list_blobs(name_starts_with=folder):
            yield _of_blob(blob.name.removeprefix(folder), blob, container)

    def _name(self, path: str) -> str:
        prefix = self._settings.prefix.strip("/")
        return f"{prefix}/{path}" if prefix else path


def belongs(path: str, job: JobInfo) -> bool:
    """Whether a file in a folder that outlives its job is of this job.

    All jobs of a workflow share such a folder. The path of a file of theirs is taken to name the
    values of all their wildcards, as ``Prostate/fold_1/log`` does of model=Prostate, fold=1.
    """
    wildcards = (part.partition("=")[2] for part in job.tags.get("wildcards", "").split(", "))
    folders = str(PurePosixPath(path).parent)
    return all(
        re.search(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", folders)
        for value in wildcards
        if value
    )


def _of_blob(path: str, blob: BlobProperties, container: ContainerClient) -> JobFile:
    return JobFile(
        path=path,
        blob=blob.name,
        container=container,
        size=blob.size,
        changed=blob.last_modified.timestamp(),
    )


def _download(file: JobFile, target: Path) -> None:
    with target.open("wb") as stream:
        # Not a byte beyond the size that was listed: a running job appends to its files.
        if file.size:
            file.container.download_blob(file.blob, offset=0, length=file.size).readinto(stream)
    os.utime(target, (file.changed, file.changed))
