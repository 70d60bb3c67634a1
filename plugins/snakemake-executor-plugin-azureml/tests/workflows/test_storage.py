"""Files in `storage.azure(…)`, which snakemake-storage-plugin-azure brings and takes."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from azure.storage.blob import ContainerClient

if TYPE_CHECKING:
    from azureml_emulator.azurite import Azurite

    from conftest import Project

pytestmark = pytest.mark.slow

# Not with the other packages: each start of Snakemake imports the plugins that it finds.
APART = Path(sys.prefix) / ".storage"
IS_INSTALLED = APART.is_dir() or importlib.util.find_spec("snakemake_storage_plugin_azure")


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    """A container of the lab's own, which is no datastore."""
    name = f"lab-{uuid.uuid4()}"
    client = ContainerClient.from_connection_string(azurite.connection_string, name)
    client.create_container()
    return client


@pytest.mark.skipif(
    not IS_INSTALLED,
    reason=f"pip install --no-deps --target {APART} snakemake-storage-plugin-azure==0.4.4",
)
def test_files_in_the_storage_are_fetched_and_brought_by_the_job(
    project: Project, azurite: Azurite, container: ContainerClient
) -> None:
    variables = {
        # By the first, the plugin finds Azurite: here and, in place of an identity, on the nodes.
        "AZURITE_CONNECTION_STRING": azurite.connection_string,
        "PYTHONPATH": str(APART),
    }
    project.azureml.workspace.node_variables.update(variables)
    container.upload_blob("scans/a.txt", b"scan")
    name = container.container_name
    project.write(
        "Snakefile",
        f"""
        rule all:
            input: "result.txt"
        rule segment:
            input: scan=storage.azure("az://{name}/scans/{{subject}}.txt"), own="own.txt"
            output: storage.azure("az://{name}/maps/{{subject}}.txt"), log="notes/{{subject}}.txt"
            shell: "cat {{input.scan}} {{input.own}} > {{output[0]}}; echo done > {{output.log}}"
        rule measure:
            input: storage.azure("az://{name}/maps/a.txt"), "notes/a.txt"
            output: "result.txt"
            shell: "cat {{input}} > {{output}}"
        """,
    )
    project.write("own.txt", "own")
    settings = ("--storage-azure-account-name", "devstoreaccount1")
    project.run(*settings, **variables)
    assert project.read("result.txt") == "scanowndone\n"
    assert container.download_blob("maps/a.txt").readall() == b"scanown"
    assert len(project.jobs()) == 2
    # It does not travel through the store of the jobs as well.
    assert b"scan" not in project.azureml.blobs().values()
    assert b"scanown" not in project.azureml.blobs().values()
    assert "Nothing to be done" in project.run(*settings, **variables)
