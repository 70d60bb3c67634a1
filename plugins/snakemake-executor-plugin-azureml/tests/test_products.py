"""Metrics of earlier runs, downloaded by the name of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from snakemake_executor_plugin_azureml.client import connect
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobSpec
from snakemake_executor_plugin_azureml.products import fetch_products
from snakemake_executor_plugin_azureml.workspace import find_workspace
from snakemake_interface_common.exceptions import WorkflowError

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

NAMES = ("metrics.csv", "splits.csv")


@pytest.fixture
def profile(azureml_here: Emulator, tmp_path: Path) -> Path:
    """A profile of a workspace with a run that has left two tables and a large file."""
    client = connect("v2", find_workspace())
    client.submit(
        JobSpec(
            name="measure-1",
            experiment="main",
            command="mkdir -p outputs/Test; cd outputs; head -c 1000000 /dev/zero > model; "
            "echo dice > metrics.csv; echo innereye > Test/metrics.csv",
            environment=client.ensure_environment(
                EnvironmentSpec(name="quiet", image="python:3.12")
            ),
            compute="gpu-cluster",
        )
    )
    azureml_here.wait_for("measure-1")
    file = tmp_path / "profile.yaml"
    file.write_text("azureml-datastore: workspaceblobstore\n")
    return file


def test_only_what_is_asked_for_is_downloaded_and_only_once(
    profile: Path, azureml_here: Emulator, tmp_path: Path
) -> None:
    folder = tmp_path / "compared"
    azureml_here.forget_requests()
    first = fetch_products("main/measure-1", NAMES, folder, profile=profile)
    assert {file.relative_to(folder).as_posix(): file.read_text() for file in first} == {
        "measure-1/outputs/metrics.csv": "dice\n",
        "measure-1/outputs/Test/metrics.csv": "innereye\n",
    }
    received = sum(request.response_bytes for request in azureml_here.requests(service="blob"))
    assert received < 100_000
    azureml_here.forget_requests()
    assert fetch_products("main/measure-1", NAMES, folder, profile=profile) == first
    assert azureml_here.requests() == []
    first[0].unlink()
    assert fetch_products("main/measure-1", NAMES, folder, profile=profile) == first


def test_what_is_not_there_is_named(profile: Path, tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match="is in experiment main, not other"):
        fetch_products("other/measure-1", NAMES, tmp_path, profile=profile)
    with pytest.raises(WorkflowError, match=r"measure-1 \(Completed\) has no a\.csv"):
        fetch_products("main/measure-1", ["a.csv"], tmp_path, profile=profile)
    with pytest.raises(WorkflowError, match="no job nobody"):
        fetch_products("main/nobody", NAMES, tmp_path, profile=profile)
