"""Azurite, the storage emulator of Microsoft, as a child process."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

ACCOUNT = "devstoreaccount1"
# The account and its key are Azurite's own, published ones: they open nothing else.
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60
SAS_VALID_FOR = datetime.timedelta(hours=12)
REPOSITORY = Path(__file__).parents[2]


class AzuriteMissingError(RuntimeError):
    """Azurite is not installed; the message says how to install it."""


def find_azurite() -> Path:
    """The program `azurite-blob`: $AZURITE, node_modules of the repository, or on the PATH.

    Raises
    ------
    AzuriteMissingError
        There is none.
    """
    chosen = os.environ.get("AZURITE")
    candidates = [Path(chosen)] if chosen else [REPOSITORY / "node_modules/.bin/azurite-blob"]
    if not chosen and (on_path := shutil.which("azurite-blob")):
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise AzuriteMissingError(
        f"No Azurite at {' or '.join(map(str, candidates))}. "
        "Run `npm install azurite@3.37.0`, or set AZURITE to the path of azurite-blob."
    )


class Azurite:
    """A running Azurite with an account of its own; blobs only, gone after `stop`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="azurite-")
        self.port = free_port()
        options = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        options += ["--blobHost", LOOPBACK, "--blobPort", str(self.port)]
        self._process = subprocess.Popen(
            [str(find_azurite()), *options, "--location", self._folder.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        self._wait_until_it_listens()

    @property
    def url(self) -> str:
        """Plain HTTP address of the account."""
        return f"http://{LOOPBACK}:{self.port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """All that a client needs to open the account, in one text."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
            f"BlobEndpoint={self.url};"
        )

    def make_sas(self) -> str:
        """A signature that opens the account for some hours."""
        return generate_account_sas(
            ACCOUNT,
            ACCOUNT_KEY,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(
                read=True, write=True, delete=True, list=True, add=True, create=True
            ),
            datetime.datetime.now(datetime.UTC) + SAS_VALID_FOR,
        )

    def stop(self) -> None:
        """End the process and remove its files."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise RuntimeError(f"Azurite did not start within {START_TIMEOUT_S} s")


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])
