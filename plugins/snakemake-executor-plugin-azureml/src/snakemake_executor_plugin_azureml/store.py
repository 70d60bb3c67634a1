"""Files in a blob container under the digest of their content: sent once, never twice."""

import hashlib
import math
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.digests import HashedFile
from snakemake_executor_plugin_azureml.runner import blob_path

MEBIBYTE = 1 << 20
# What Azure allows in one blob.
MOST_BLOCKS = 50_000
# A page of a listing names 5 000 blobs: above so many files it is less work than asking for each.
LIST_ABOVE = 20


@dataclass(frozen=True)
class Transfer:
    """What an upload came to."""

    files: int = 0
    """Files that were sent, in whole or in part."""
    bytes: int = 0
    """Bytes that were sent: blocks that an earlier attempt had sent do not count."""
    present: int = 0
    """Files that the store had already."""

    def __add__(self, other: "Transfer") -> "Transfer":
        return Transfer(
            self.files + other.files, self.bytes + other.bytes, self.present + other.present
        )


class Block(NamedTuple):
    """A part of a large file."""

    name: str
    offset: int
    size: int


class Store:
    """The store of a workflow.

    Parameters
    ----------
    container
        Client of the container that the datastore stands for.
    prefix
        Folder in the container; everything is written below it.
    workers
        Requests at a time; each holds one block or one small file in memory.
    block_bytes
        Files larger than this travel in blocks of this size. An upload that was killed goes on with
        the blocks that have arrived; Azure keeps them for a week.
    """

    def __init__(
        self,
        container: ContainerClient,
        prefix: str,
        *,
        workers: int = 8,
        block_bytes: int = 16 * MEBIBYTE,
    ) -> None:
        self.prefix = prefix.strip("/")
        self._container = container
        self._workers = workers
        self._block_bytes = block_bytes
        self._sizes: dict[str, int] = {}
        self._is_listed = False
        self._lock = threading.Lock()

    def upload(self, files: Iterable[HashedFile]) -> Transfer:
        """Send the files whose content the store does not have.

        Raises
        ------
        WorkflowError
            If a file changes meanwhile; it is not in the store then.
        """
        wanted = {file.digest: file for file in files}
        with ThreadPoolExecutor(self._workers) as pool:
            missing = self._missing(wanted, pool)
            whole = [file for file in missing if file.size <= self._block_bytes]
            sent_bytes = sum(pool.map(self._send, whole))
            for file in missing:
                if file.size > self._block_bytes:
                    sent_bytes += self._send_in_blocks(file, pool)
        return Transfer(len(missing), sent_bytes, len(wanted) - len(missing))

    def download(self, digest: str, target: Path) -> None:
        """Write the content of a digest to a file, checking it on the way.

        Raises
        ------
        WorkflowError
            If the content is gone or damaged; there is no file then.
        """
        content = hashlib.sha256()
        try:
            chunks = self._blob(blob_path(digest)).download_blob().chunks()
            with target.open("wb") as stream:
                for chunk in chunks:
                    content.update(chunk)
                    stream.write(chunk)
        except ResourceNotFoundError as error:
            target.unlink(missing_ok=True)
            raise WorkflowError(
                f"{target} is no longer in the store ({self._name(blob_path(digest))}): "
                "run the job again."
            ) from error
        if content.hexdigest() != digest:
            target.unlink()
            raise WorkflowError(
                f"{target} is damaged in the store: delete {self._name(blob_path(digest))} "
                "and run the job again."
            )
        self.note_present({digest: target.stat().st_size})

    def note_present(self, sizes: Mapping[str, int]) -> None:
        """Note the size of blobs that are known to be there, such as the outputs of a job."""
        with self._lock:
            self._sizes.update(sizes)

    def write(self, path: str, content: bytes) -> None:
        """Write a small file with a name of its own, such as a manifest."""
        self._blob(path).upload_blob(content, overwrite=True)

    def read(self, path: str) -> bytes | None:
        """Return the content of a small file, or None if it is not there."""
        try:
            return self._blob(path).download_blob().readall()
        except ResourceNotFoundError:
            return None

    def _missing(
        self, wanted: Mapping[str, HashedFile], pool: ThreadPoolExecutor
    ) -> list[HashedFile]:
        unknown = self._unknown(wanted.values())
        if len(unknown) > LIST_ABOVE and not self._is_listed:
            self._list()
            return self._unknown(unknown)
        if len(unknown) <= LIST_ABOVE:
            self.note_present(
                {
                    digest: size
                    for digest, size in pool.map(self._ask, (file.digest for file in unknown))
                    if size is not None
                }
            )
        return self._unknown(unknown)

    def _unknown(self, files: Iterable[HashedFile]) -> list[HashedFile]:
        """Return the files that are not there, or there in another size: cut short."""
        return [file for file in files if self._sizes.get(file.digest) != file.size]

    def _list(self) -> None:
        blobs = self._container.list_blobs(name_starts_with=self._name("blobs/"))
        self.note_present({PurePosixPath(blob.name).name: blob.size for blob in blobs})
        self._is_listed = True

    def _ask(self, digest: str) -> tuple[str, int | None]:
        try:
            return digest, self._blob(blob_path(digest)).get_blob_properties().size
        except ResourceNotFoundError:
            return digest, None

    def _send(self, file: HashedFile) -> int:
        content = file.path.read_bytes()
        file.require_unchanged()
        self._blob(blob_path(file.digest)).upload_blob(content, overwrite=True)
        self.note_present({file.digest: file.size})
        return file.size

    def _send_in_blocks(self, file: HashedFile, pool: ThreadPoolExecutor) -> int:
        blob = self._blob(blob_path(file.digest))
        blocks = self._blocks(file.size)
        try:
            arrived = {block.id: block.size for block in blob.get_block_list("uncommitted")[1]}
        except ResourceNotFoundError:
            arrived = {}
        missing = [block for block in blocks if arrived.get(block.name) != block.size]

        def send(block: Block) -> int:
            with file.path.open("rb") as stream:
                stream.seek(block.offset)
                blob.stage_block(block.name, stream.read(block.size), length=block.size)
            return block.size

        sent_bytes = sum(pool.map(send, missing))
        file.require_unchanged()
        blob.commit_block_list([BlobBlock(block.name) for block in blocks])
        self.note_present({file.digest: file.size})
        return sent_bytes

    def _blocks(self, size: int) -> list[Block]:
        """Cut a file; the digest names the blob, so a place and a size stand for a content."""
        block_bytes = max(self._block_bytes, math.ceil(size / MOST_BLOCKS))
        return [
            Block(f"{offset:015}", offset, min(block_bytes, size - offset))
            for offset in range(0, size, block_bytes)
        ]

    def _name(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _blob(self, path: str) -> BlobClient:
        return self._container.get_blob_client(self._name(path))
