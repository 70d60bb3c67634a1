"""Fixtures for pytest: `azurite` (once a session) and `azureml` (one for each test)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # the Azure packages are imported only by tests that use them
    from azureml_emulator.azurite import Azurite
    from azureml_emulator.emulator import Emulator


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """The blob storage, shared by all tests; skips where Azurite is not installed."""
    from azureml_emulator.azurite import Azurite, AzuriteMissingError

    try:
        server = Azurite()
    except AzuriteMissingError as missing:
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azureml_address(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Port and certificate of every `azureml` of a session.

    azureml-core asks once per process which clouds there are: their addresses must not change.
    """
    from azureml_emulator.azurite import free_port
    from azureml_emulator.certificate import make_certificate

    certificate = make_certificate(tmp_path_factory.mktemp("certificate"))
    return {"port": free_port(), "certificate": certificate}


@pytest.fixture
def azureml(
    azurite: Azurite, azureml_address: dict[str, Any], tmp_path: Path
) -> Iterator[Emulator]:
    """A new, empty AzureML."""
    from azureml_emulator.emulator import Emulator

    folder = tmp_path / "azureml"
    folder.mkdir()
    with Emulator(azurite, folder, **azureml_address) as emulator:
        yield emulator


@pytest.fixture
def azureml_here(azureml: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """`azureml`, to which this process's environment leads."""
    for name, value in azureml.environment.items():
        monkeypatch.setenv(name, value)
    return azureml
