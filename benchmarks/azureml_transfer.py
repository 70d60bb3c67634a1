"""How fast files travel to the store of the AzureML executor, and that they travel once.

    AZURITE=node_modules/.bin/azurite-blob python -m benchmarks.azureml_transfer

Azurite, an emulator on this machine, stands for Azure Blob Storage: what counts are bytes and
requests; seconds are those of the emulator and of the client, without a network between them.
"""

import argparse
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from azure.core.exceptions import ServiceRequestError
from azure.storage.blob import BlobServiceClient, ContainerClient
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.runner import sha256
from snakemake_executor_plugin_azureml.store import MEBIBYTE, Store, Transfer

from benchmarks.machine import describe

# Azurite's only account, with the key that its documentation prints.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# A file younger than this is hashed again, to be safe.
SETTLING_S = 1.5


class Row(NamedTuple):
    """One line of the table."""

    what: str
    seconds: float
    megabytes: float
    requests: int


class Container:
    """A container whose requests are counted."""

    def __init__(self, connection_string: str, name: str) -> None:
        self._connection_string = connection_string
        self._name = name
        self.requests = 0
        self.requests_left: float = np.inf
        self.store().write("created", b"")

    def store(self) -> Store:
        """Return what a new process would have: nothing is known yet."""
        client = ContainerClient.from_connection_string(
            self._connection_string, self._name, raw_request_hook=self._count
        )
        return Store(client, "smk")

    def _count(self, _request: Any) -> None:
        self.requests += 1
        self.requests_left -= 1
        if self.requests_left < 0:
            raise KeyboardInterrupt

    def measure(self, what: str, function: Callable[[], Transfer]) -> Row:
        self.requests, started = 0, time.perf_counter()
        sent_bytes = function().bytes
        return Row(what, time.perf_counter() - started, sent_bytes / 1e6, self.requests)


@contextmanager
def azurite() -> Iterator[str]:
    """Start the emulator; yield its connection string."""
    binary = os.environ.get("AZURITE") or shutil.which("azurite-blob")
    if binary is None:
        sys.exit("Needs azurite-blob: npm install azurite, or AZURITE=/path/to/azurite-blob")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    connection_string = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [binary, "--blobPort", str(port), "--location", folder, *options]
        )
        try:
            service = BlobServiceClient.from_connection_string(connection_string)
            for attempt in range(100):
                try:
                    service.create_container("transfer")
                    break
                except ServiceRequestError:
                    time.sleep(0.02 * attempt)
            yield connection_string
        finally:
            process.terminate()
            process.wait()


def make_files(folder: Path, count: int, size: int) -> list[Path]:
    generator = np.random.default_rng(0)
    folder.mkdir()
    paths = [folder / f"{number}.nii.gz" for number in range(count)]
    for path in paths:
        with path.open("wb") as stream:
            for offset in range(0, size, MEBIBYTE):
                stream.write(generator.bytes(min(MEBIBYTE, size - offset)))
    time.sleep(SETTLING_S)
    return paths


def many_files(container: Container, folder: Path, count: int) -> Iterator[Row]:
    """Send a dataset, then send it again as later runs would."""
    paths = make_files(folder / "images", count, 100_000)

    def send(cache: str) -> Transfer:
        return container.store().upload(DigestCache(folder / cache).hash(paths))

    for what, cache in (
        ("the first time", "digests.json"),
        ("again", "digests.json"),
        ("again, digests forgotten", "forgotten.json"),
    ):
        yield container.measure(f"{count} files, {what}", lambda cache=cache: send(cache))


def one_large_file(container: Container, folder: Path, size: int) -> Iterator[Row]:
    """Kill an upload after half of its blocks, and go on."""
    digests = DigestCache(folder / "digests.json")
    files = digests.hash(make_files(folder / "large", 1, size))

    def half() -> Transfer:
        container.requests_left = 2 + size // (16 * MEBIBYTE) // 2
        try:
            return container.store().upload(files)
        except KeyboardInterrupt:
            return Transfer(0, 0, 0)
        finally:
            container.requests_left = np.inf

    name = f"{size / 1e6:.0f} MB in blocks"
    container.measure("", half)
    yield container.measure(f"{name}, after half of it", lambda: container.store().upload(files))
    yield container.measure(f"{name}, again", lambda: container.store().upload(files))


def hashing(folder: Path, size: int) -> Row:
    [path] = make_files(folder / "hashed", 1, size)
    started = time.perf_counter()
    sha256(path)
    return Row("hashing, one thread", time.perf_counter() - started, size / 1e6, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000, help="files of 100 kB")
    parser.add_argument("--large-mib", type=int, default=640, help="size of the large file")
    arguments = parser.parse_args()
    large_bytes = arguments.large_mib * MEBIBYTE
    print(describe())
    print("\n| what | s | MB sent or read | MB/s | requests |\n|---|---|---|---|---|")
    with azurite() as connection_string, tempfile.TemporaryDirectory() as folder:
        container = Container(connection_string, "transfer")
        rows = [hashing(Path(folder), large_bytes)]
        rows += many_files(container, Path(folder), arguments.files)
        rows += one_large_file(container, Path(folder), large_bytes)
    for what, seconds, megabytes, requests in rows:
        speed = f"{megabytes / seconds:.0f}" if megabytes else ""
        print(f"| {what} | {seconds:.2f} | {megabytes:.1f} | {speed} | {requests} |")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak_mib:.0f} MiB")


if __name__ == "__main__":
    main()
