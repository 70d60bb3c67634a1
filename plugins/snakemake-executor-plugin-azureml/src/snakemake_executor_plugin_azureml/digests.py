"""The digests of local files, remembered from one run to the next."""

import json
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.runner import sha256

# A file this young may be written again within the resolution of its time stamp.
SETTLED_AFTER_NS = 1_000_000_000


class Signature(NamedTuple):
    """What tells, without reading, that a file is still the same."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "Signature":
        """Return the signature of a file, or of what a link leads to."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class HashedFile(NamedTuple):
    """A local file and the SHA-256 of the content that it had then."""

    path: Path
    digest: str
    signature: Signature

    @property
    def size(self) -> int:
        """Bytes."""
        return self.signature.size

    def require_unchanged(self) -> None:
        """Raise `WorkflowError` if somebody has written to the file since."""
        if Signature.of(self.path) != self.signature:
            raise WorkflowError(
                f"{self.path} changed while it was being sent: run again when nothing writes to it."
            )


class DigestCache:
    """Hashes files, each version of a file once.

    Parameters
    ----------
    path
        Where digests are kept, for example `.snakemake/azureml/digests.json`. A missing or damaged
        file costs time, nothing else.
    workers
        Files hashed side by side.
    """

    def __init__(self, path: Path, *, workers: int = 4) -> None:
        self.path = path
        self._workers = workers
        self._lock = threading.Lock()
        self._entries = self._load()
        self._is_saved = True

    def hash(self, paths: Iterable[Path]) -> list[HashedFile]:
        """Return the files with their digests, in order."""
        with ThreadPoolExecutor(self._workers) as pool:
            files = list(pool.map(self._hash, paths))
        self.save()
        return files

    def remember(self, path: Path, digest: str) -> None:
        """Note the digest of a file that has just been received and checked."""
        self._note(HashedFile(path, digest, Signature.of(path)))

    def save(self) -> None:
        """Write what is new, without the files that are gone."""
        with self._lock:
            if self._is_saved:
                return
            self._entries = {
                name: entry for name, entry in self._entries.items() if Path(name).exists()
            }
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_name(self.path.name + ".part")
            part.write_text(json.dumps(self._entries), encoding="utf-8")
            os.replace(part, self.path)
            self._is_saved = True

    def _hash(self, path: Path) -> HashedFile:
        signature = Signature.of(path)
        known = self._entries.get(str(path))
        if known is not None and known[:-1] == [*signature]:
            return HashedFile(path, str(known[-1]), signature)
        file = HashedFile(path, sha256(path), signature)
        file.require_unchanged()
        if time.time_ns() - signature.mtime_ns > SETTLED_AFTER_NS:
            self._note(file)
        return file

    def _note(self, file: HashedFile) -> None:
        with self._lock:
            self._entries[str(file.path)] = [*file.signature, file.digest]
            self._is_saved = False

    def _load(self) -> dict[str, list[int | str]]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}
