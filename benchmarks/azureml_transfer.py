"""How fast files travel to the store of the AzureML executor, and that they travel once.

    python -m benchmarks.azureml_transfer

Azurite, an emulator on this machine, stands for Azure Blob Storage: what counts are bytes and
requests; seconds are those of the emulator and of the client, without a network between them.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from azure.storage.blob import ContainerClient
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.runner import sha256
from snakemake_executor_plugin_azureml.store import MEBIBYTE, Store, Transfer

from benchmarks.machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from azureml_emulator.azurite import Azurite, AzuriteMissingError

ROUNDS = 3
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

    def __init__(self, azurite: Azurite) -> None:
        self._address = (azurite.connection_string, f"transfer-{uuid.uuid4()}")
        self.requests = 0
        self.requests_left: float = np.inf
        ContainerClient.from_connection_string(*self._address).create_container()

    def store(self) -> Store:
        """Return what a new process would have: nothing is known yet."""
        client = ContainerClient.from_connection_string(
            *self._address, raw_request_hook=self._count
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
    [path] = make_files(folder / "large", 1, size)
    started = time.perf_counter()
    sha256(path)
    yield Row("hashing, one thread", time.perf_counter() - started, size / 1e6, 0)
    files = DigestCache(folder / "digests.json").hash([path])

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000, help="files of 100 kB")
    parser.add_argument("--large-mib", type=int, default=640, help="size of the large file")
    arguments = parser.parse_args()
    rounds: list[list[Row]] = []
    try:
        azurite = Azurite()
    except AzuriteMissingError as missing:
        sys.exit(str(missing))
    try:
        for _ in range(ROUNDS):
            container = Container(azurite)
            with tempfile.TemporaryDirectory() as name:
                rows = [*many_files(container, Path(name), arguments.files)]
                rows += one_large_file(container, Path(name), arguments.large_mib * MEBIBYTE)
            rounds.append(rows)
    finally:
        azurite.stop()
    print(describe())
    print(f"\nMedians of {ROUNDS} rounds.\n")
    print("| what | s | MB sent or read | MB/s | requests |\n|---|---|---|---|---|")
    for row in zip(*rounds, strict=True):
        seconds, megabytes, requests = (
            statistics.median(values) for values in list(zip(*row, strict=True))[1:]
        )
        speed = f"{megabytes / seconds:.0f}" if megabytes else ""
        print(f"| {row[0].what} | {seconds:.2f} | {megabytes:.1f} | {speed} | {requests} |")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak_mib:.0f} MiB")


if __name__ == "__main__":
    main()
