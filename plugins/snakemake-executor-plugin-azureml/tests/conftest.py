import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

# Azurite's only account, with the key that its documentation prints.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def find_azurite() -> str | None:
    """AZURITE, then what `npm install azurite` left in the repository, then PATH."""
    named = os.environ.get("AZURITE")
    installed = Path(__file__).parents[3] / "node_modules" / ".bin" / "azurite-blob"
    return named or (str(installed) if installed.exists() else shutil.which("azurite-blob"))


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of an emulator of Azure Blob Storage."""
    binary = find_azurite()
    if binary is None:
        pytest.skip("needs azurite-blob: npm install azurite, or AZURITE=/path/to/azurite-blob")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(binary, "--blobHost", "127.0.0.1", "--blobPort", str(port)),
            *("--location", str(tmp_path_factory.mktemp("azurite"))),
            *("--skipApiVersionCheck", "--disableTelemetry", "--silent"),
        ]
    )
    try:
        wait_for(port, process)
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(port: int, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("azurite-blob did not start")


@pytest.fixture
def requests_made() -> list[str]:
    """Method and path of every request that `container` has made."""
    return []


@pytest.fixture
def connect(azurite: str, requests_made: list[str]) -> Callable[[], ContainerClient]:
    """Make another client of the same container."""
    name = f"test-{uuid.uuid4().hex}"

    def note(request: Any) -> None:
        requests_made.append(f"{request.http_request.method} {request.http_request.url}")

    def connect() -> ContainerClient:
        return ContainerClient.from_connection_string(azurite, name, raw_request_hook=note)

    connect().create_container()
    requests_made.clear()
    return connect


@pytest.fixture
def container(connect: Callable[[], ContainerClient]) -> ContainerClient:
    """An empty container."""
    return connect()
