"""What a job is made of, and how a Snakemake job becomes that."""

import dataclasses
import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml import runner
from snakemake_executor_plugin_azureml.digests import DigestCache, HashedFile
from snakemake_executor_plugin_azureml.runner import Found, blob_path, find, is_below, job_path
from snakemake_executor_plugin_azureml.store import Store, Transfer


@dataclass(frozen=True)
class StoredFile:
    """A file whose content is in the store; the path is relative to the working directory."""

    path: str
    digest: str
    size: int
    mode: int


@dataclass(frozen=True)
class Tree:
    """Files, directories (empty ones too) and symbolic links with their targets."""

    files: tuple[StoredFile, ...] = ()
    directories: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Tree":
        """Return the tree that `dataclasses.asdict` took apart."""
        files = tuple(StoredFile(**file) for file in fields["files"])
        return cls(files, tuple(fields["directories"]), dict(fields["links"]))


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that decides what a job does, files by the digest of their content.

    `sources` is the digest of a tar archive. `depth` says how many folders above the working
    directory the paths reach. `mounts` leads from paths in the working directory to folders of the
    store that outlive the job. `environment` can be read by whoever can read the store: no secrets.
    """

    command: str
    sources: str
    inputs: Tree = field(default_factory=Tree)
    outputs: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    depth: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, str] = field(default_factory=dict)

    @property
    def products(self) -> tuple[str, ...]:
        """Everything that the job may bring back."""
        return (*self.outputs, *self.logs, *self.benchmarks)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content: jobs of the same fingerprint do the same."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return the text of `manifest.json`, the same for the same content."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Return the manifest that `to_json` wrote."""
        fields = json.loads(text)
        tuples = {name: tuple(fields[name]) for name in ("outputs", "logs", "benchmarks")}
        return cls(**fields | tuples | {"inputs": Tree.from_fields(fields["inputs"])})


@dataclass(frozen=True)
class Sources:
    """The workflow's own files: an archive, and what is outside of the working directory."""

    archive: HashedFile
    outside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Package:
    """A manifest and every file that has to be in the store for it."""

    manifest: Manifest
    files: tuple[HashedFile, ...]
    runner: HashedFile

    def command(self, mount: str, name: str) -> str:
        """Return what starts the job, given where its store is mounted (an expression is fine)."""
        return f'python "{mount}/{blob_path(self.runner.digest)}" "{mount}" {name}'


def pack_sources(paths: Iterable[str], archive: Path, digests: DigestCache) -> Sources:
    """Put the workflow's files into an archive that depends on nothing but their content.

    Parameters
    ----------
    paths
        Relative to the working directory, as `dag.get_sources()` names them. Files that git lists
        but that are deleted are left out, and so is what Python compiled.
    archive
        Where the archive is written, for example `.snakemake/azureml/sources.tar`.
    digests
        Hashes the archive.
    """
    present = sorted(
        path
        for path in {os.path.normpath(path) for path in paths}
        if os.path.lexists(path) and "__pycache__" not in Path(path).parts
    )
    inside = [path for path in present if not _is_outside(path)]
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_name(archive.name + ".part")
    with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in inside:
            _add(tar, path)
    os.replace(part, archive)
    [hashed] = digests.hash([archive])
    return Sources(hashed, tuple(path for path in present if _is_outside(path)))


def _add(tar: tarfile.TarFile, path: str) -> None:
    place = Path(path)
    if place.is_symlink():
        target = str(place.readlink())
        if not _is_outside(os.path.normpath(place.parent / target)):
            information = tarfile.TarInfo(path)
            information.type, information.linkname = tarfile.SYMTYPE, target
            tar.addfile(information)
            return
    for name, file in find([path], Path()).files.items():
        information = tarfile.TarInfo(name)
        status = file.stat()
        information.size = status.st_size
        information.mode = 0o755 if status.st_mode & 0o100 else 0o644
        with file.open("rb") as content:
            tar.addfile(information, content)


def pack_job(
    job: Any,
    *,
    command: str,
    sources: Sources,
    digests: DigestCache,
    environment: Mapping[str, str] | None = None,
    mounts: Mapping[str, str] | None = None,
) -> Package:
    """Describe a Snakemake job, or all jobs of a group, and hash what it needs.

    Files in storage (`storage.azure(…)`) are left out: the job fetches them itself.

    Raises
    ------
    WorkflowError
        If an input is missing, has an absolute path, or has links that lead nowhere.
    """
    jobs = job.jobs if job.is_group() else [job]
    outputs = _local(file for member in jobs for file in member.output)
    logs = _local(file for member in jobs for file in member.log)
    benchmarks = _local(member.benchmark for member in jobs if member.benchmark)
    updated = [
        file
        for member in jobs
        for file in member.output
        if "update" in getattr(file, "flags", {}) and Path(file).exists()
    ]
    inputs = _local([*job.input, *updated])
    found = _found((*inputs, *sources.outside), job)
    started_by = Path(runner.__file__)
    *files, start = digests.hash([*found.files.values(), started_by])
    tree = Tree(
        tuple(_stored(path, file) for path, file in zip(found.files, files, strict=True)),
        tuple(found.directories),
        found.links,
    )
    paths = (*found.files, *found.directories, *outputs, *logs, *benchmarks)
    manifest = Manifest(
        command=command,
        sources=sources.archive.digest,
        inputs=tree,
        outputs=outputs,
        logs=logs,
        benchmarks=benchmarks,
        depth=max((path.split("/").count("..") for path in paths), default=0),
        environment=dict(environment or {}),
        mounts=dict(mounts or {}),
    )
    return Package(manifest, (sources.archive, *files, start), start)


def stage(store: Store, name: str, package: Package) -> Transfer:
    """Send what the store lacks, then the manifest, after which the job may start."""
    transfer = store.upload(package.files)
    store.write(job_path(name, "manifest.json"), package.manifest.to_json().encode())
    return transfer


def parse_mounts(text: str, key: str) -> dict[str, str]:
    """Read the resource `azureml_mounts`: paths, separated by commas, that outlive a job.

    Parameters
    ----------
    text
        For example `state_dir=.state`; what is before "=" is for the reader.
    key
        Names the workflow: the paths are kept in `persistent/<key>/` of the store.

    Raises
    ------
    WorkflowError
        If a path leads out of the working directory.
    """
    items = [item.rpartition("=")[2].strip() for item in text.split(",")]
    paths = [os.path.normpath(item) for item in items if item]
    for path in paths:
        if path == "." or _is_outside(path):
            raise WorkflowError(
                f'azureml_mounts: "{path}" is outside of the working directory. '
                "Name a folder inside it, for example .state."
            )
    return {path: f"persistent/{key}/{path}" for path in paths}


def _local(files: Iterable[Any]) -> tuple[str, ...]:
    """Return paths without files in storage; sorted, as the jobs of a group come in any order."""
    paths = {os.path.normpath(file) for file in files if not getattr(file, "is_storage", False)}
    return tuple(sorted(paths))


def _found(paths: Iterable[str], job: Any) -> Found:
    """Look up inputs; refuse what would not arrive as the job expects it."""
    for path in paths:
        if path.startswith("/"):
            raise WorkflowError(
                f"{path}, an input of {job.name}, has an absolute path, which no job elsewhere "
                "has. Use a path relative to the working directory, or storage.azure(…)."
            )
        if not os.path.lexists(path):
            raise WorkflowError(f"{path}, an input of {job.name}, does not exist.")
    found = find(paths, Path())
    if found.unusable:
        raise WorkflowError(
            f"{found.unusable[0]}, an input of {job.name}, is a link that leads nowhere or in a "
            "circle. Remove it or restore what it leads to."
        )
    return found


def _stored(path: str, file: HashedFile) -> StoredFile:
    return StoredFile(path, file.digest, file.size, file.path.stat().st_mode & 0o777)


def _is_outside(path: str) -> bool:
    return path.startswith("/") or path == ".." or is_below(path, "..")
