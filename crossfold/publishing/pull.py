"""Bring published files here: what the remote has, with names for what it has not."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dvc.output import Output
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import Manifest, published_models, read_manifest
from crossfold.publishing.locking import exclusive
from crossfold.publishing.storage import Storage, readable_disk_errors
from crossfold.workflow import Restored, restore

_UNFINISHED = re.compile(r"\.[\w-]{22}\.tmp")
"""What DVC was writing when it was killed."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A file that the remote could not give.

    Parameters
    ----------
    path
        The file, or a directory whose list of files is lost.
    digest
        Name of the object in the remote.
    reason
        What DVC said of it.
    """

    path: str
    digest: str
    reason: str

    def __str__(self) -> str:
        """Path, object and reason in one line."""
        return f"{self.path}: object {self.digest} {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What pulling did.

    Parameters
    ----------
    downloaded
        Number of objects that were not here.
    missing
        Files that are still not here.
    restored
        What Snakemake remembers again.
    """

    downloaded: int
    missing: tuple[Missing, ...]
    restored: Restored


def pull(
    models: Sequence[str] = (), *, root: Path = Path(), remote: str = "", force: bool = False
) -> Pulled:
    """Download what DVC keeps, put it in place, and make Snakemake take it as it was published.

    Parameters
    ----------
    models
        Published models; everything that DVC keeps when empty.
    root
        The checkout.
    remote
        Name of the DVC remote; empty: the default one.
    force
        Overwrite results that are neither published nor in DVC's cache.

    Raises
    ------
    CrossfoldError
        If a model is not published, the remote does not answer, or results that were made here
        would be lost.
    """
    with readable_disk_errors(root), exclusive(root), Storage(root) as storage:
        manifests = [read_manifest(name, root) for name in models or published_models(root)]
        _remember_lists(manifests, storage)
        outputs = storage.outputs(_names(manifests, root) if models else None)
        downloaded, reasons = _download(outputs, remote, storage)
        missing = _put_in_place(outputs, reasons, force, storage)
        restored = restore(models, root)
    return Pulled(downloaded=downloaded, missing=tuple(missing), restored=restored)


def _names(manifests: Sequence[Manifest], root: Path) -> list[str]:
    """Return the stages and pointers of published models."""
    names = [manifest.model for manifest in manifests]
    for manifest in manifests:
        pointer = f"data/{manifest.data['name']}/images.dvc"
        if (root / pointer).is_file():
            names.append(pointer)
    return names


def _remember_lists(manifests: Sequence[Manifest], storage: Storage) -> None:
    """Make DVC's lists of the files in directories from the manifests.

    One that is lost or damaged in the remote would otherwise take a whole directory with it.
    """
    cache = storage.repository.cache.local
    for manifest in manifests:
        for folder, digest in manifest.directories.items():
            tree = Tree()
            for path, entry in manifest.files.items():
                if path.startswith(f"{folder}/") and entry.kept == "dvc":
                    name = tuple(path.removeprefix(f"{folder}/").split("/"))
                    tree.add(name, None, HashInfo("md5", entry.md5))
            tree.digest()
            if tree.hash_info.value == digest and not storage.is_cached(digest):
                cache.add(tree.path, tree.fs, tree.oid)


def _download(
    outputs: Sequence[Output], remote: str, storage: Storage
) -> tuple[int, dict[str, str]]:
    """Download what can be had, and say why the rest cannot."""
    lists = [one.hash_info.value for one in outputs if one.hash_info.isdir]
    downloaded, reasons = storage.download(lists, remote)
    files = [digest for one in outputs for digest in (storage.files_of(one) or {}).values()]
    more, more_reasons = storage.download(files, remote)
    return downloaded + more, reasons | more_reasons


def _put_in_place(
    outputs: Sequence[Output], reasons: Mapping[str, str], force: bool, storage: Storage
) -> list[Missing]:
    """Put whole outputs in place as DVC does, and of others the files that are there."""
    whole, missing = [], []
    for output in outputs:
        files = storage.files_of(output)
        if files is None:
            digest = output.hash_info.value
            reason = f"(the list of its files) {reasons.get(digest, 'is damaged here')}"
            missing.append(Missing(path=storage.path_of(output), digest=digest, reason=reason))
            continue
        lost = {file: digest for file, digest in files.items() if not storage.is_cached(digest)}
        missing += [
            Missing(path=file, digest=digest, reason=reasons.get(digest, "is missing"))
            for file, digest in lost.items()
        ]
        if not lost:
            whole.append(output)
        elif output.hash_info.isdir:
            _place_files({k: v for k, v in files.items() if k not in lost}, force, storage)
    if whole:
        _check_out(whole, force, storage)
    return sorted(missing, key=lambda one: one.path)


def _check_out(outputs: Sequence[Output], force: bool, storage: Storage) -> None:
    """Let DVC put outputs in place.

    Raises
    ------
    CrossfoldError
        If what is there instead would be lost.
    """
    if not force:
        mine = [path for output in outputs for path in _unsaved(output, storage)]
        if mine:
            more = f" and {len(mine) - 1} more files" if len(mine) > 1 else ""
            raise CrossfoldError(
                f"{mine[0]}{more} made here would be lost: nothing else has them",
                remedy="publish them, or overwrite them with `crossfold pull --force`",
            )
    paths = [os.fspath(output.fs_path) for output in outputs]
    with storage.readable("what was pulled could not be put in place"):
        storage.repository.checkout(targets=paths, force=True)


def _unsaved(output: Output, storage: Storage) -> list[str]:
    """Return the files at the place of an output that are neither its own nor in the cache."""
    path, expected = storage.path_of(output), storage.files_of(output) or {}
    if not (storage.root / path).exists():
        return []
    with Digests(storage.root) as digests:
        if output.hash_info.isdir:
            here = {f"{path}/{name}": one for name, one in digests.tree(path).items()}
        else:
            here = {path: digests.of(path)}
    return [
        file
        for file, digest in here.items()
        if expected.get(file) != digest
        and not storage.is_cached(digest)
        and not _UNFINISHED.fullmatch(Path(file).name)
    ]


def _place_files(files: Mapping[str, str], force: bool, storage: Storage) -> None:
    """Copy files of an incomplete directory that are in the cache and not in place."""
    for file, digest in files.items():
        if force or not (storage.root / file).exists():
            (storage.root / file).parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(storage.root / file) as path:
                shutil.copyfile(storage.object_path(digest), path)
