"""Folders of a node that mirror folders of a datastore: mounts, and a job's logs and outputs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient

DOWNLOADS_AT_A_TIME = 4
IN_MEMORY_BYTES = 1 << 20


class Fingerprint(NamedTuple):
    """What tells a changed file from an unchanged one without reading it."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """The fingerprint of a file as it is now."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class BlobCache:
    """The blobs that a cluster has downloaded before; its nodes may ask for them side by side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)

    def copy(self, container: ContainerClient, blob: BlobProperties, target: Path) -> None:
        """Put the content of a blob at `target`, downloading it only if it is new here."""
        key = f"{container.container_name}/{blob.name}/{blob.etag}"
        cached = self._folder / hashlib.sha256(key.encode()).hexdigest()
        if not cached.exists():
            partial = cached.with_suffix(f".{uuid.uuid4().hex}")
            with partial.open("wb") as stream:
                container.download_blob(blob.name).readinto(stream)
            os.replace(partial, cached)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not a hard link: whoever replaces `cached` at this moment would make it fail, and a job
        # that changes its file in place would change those of others.
        shutil.copyfile(cached, target)


class Mirror:
    """A private folder and the blobs whose names begin with a prefix.

    Like the mounts of AzureML it has no empty folders and no symbolic links. Unlike them it sees
    only the blobs that were there at `pull`, and uploads a file that is still being written.
    """

    def __init__(self, folder: Path, container: ContainerClient, prefix: str) -> None:
        self._folder = folder
        self._container = container
        self._prefix = prefix
        self._synchronised: dict[str, Fingerprint] = {}

    def pull(self, cache: BlobCache) -> None:
        """Make the folder what the storage holds."""
        blobs = self._container.list_blobs(name_starts_with=self._prefix)

        def fetch(blob: BlobProperties) -> None:
            name = blob.name.removeprefix(self._prefix)
            path = self._folder / name
            with contextlib.suppress(ResourceNotFoundError):  # another job removed it just now
                cache.copy(self._container, blob, path)
                self._synchronised[name] = Fingerprint.of(path)

        with ThreadPoolExecutor(DOWNLOADS_AT_A_TIME) as pool:
            list(pool.map(fetch, (blob for blob in blobs if not blob.name.endswith("/"))))

    def push(self) -> list[str]:
        """Upload what is new or changed, delete what is gone; return the names of what arrived.

        A file that is still empty has not: its writer has opened it, and is about to write.
        """
        present: dict[str, Fingerprint] = {}
        arrived = []
        for name, path in self._files():
            try:
                present[name] = Fingerprint.of(path)
                if self._synchronised.get(name) != present[name]:
                    self._upload(name, path)
                    if present[name].size:
                        arrived.append(name)
            except FileNotFoundError:  # the job renamed or removed it just now
                present.pop(name, None)
        for name in self._synchronised.keys() - present.keys():
            with contextlib.suppress(ResourceNotFoundError):  # another job may have been quicker
                self._container.delete_blob(self._prefix + name)
        self._synchronised = present
        return arrived

    def _files(self) -> Iterator[tuple[str, Path]]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(self._folder).as_posix(), path

    def _upload(self, name: str, path: Path) -> None:
        with path.open("rb") as stream:
            # A file may change meanwhile: what is uploaded now is what it holds now.
            length = os.fstat(stream.fileno()).st_size
            blob = self._prefix + name
            if length > IN_MEMORY_BYTES:
                self._container.upload_blob(blob, stream, length=length, overwrite=True)
            else:
                self._container.upload_blob(blob, stream.read(length), overwrite=True)
