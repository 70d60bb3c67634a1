from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from azure.storage.blob import ContainerClient
from azureml_emulator.azurite import ACCOUNT_KEY

if TYPE_CHECKING:
    from azureml_emulator.azurite import Azurite


@pytest.fixture
def requests_made() -> list[str]:
    """Method and path of every request that `container` has made."""
    return []


@pytest.fixture
def connect(azurite: Azurite, requests_made: list[str]) -> Callable[[], ContainerClient]:
    """Make another client of the same container."""
    name = f"test-{uuid.uuid4().hex}"

    def note(request: Any) -> None:
        requests_made.append(f"{request.http_request.method} {request.http_request.url}")

    def connect() -> ContainerClient:
        return ContainerClient(azurite.url, name, credential=ACCOUNT_KEY, raw_request_hook=note)

    connect().create_container()
    requests_made.clear()
    return connect


@pytest.fixture
def container(connect: Callable[[], ContainerClient]) -> ContainerClient:
    """An empty container."""
    return connect()
