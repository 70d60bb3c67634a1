"""Jobs as people look for them; that both SDKs list them alike is what the contract tests show."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from snakemake_executor_plugin_azureml.client import Client, JobNotFound, connect
from snakemake_executor_plugin_azureml.client.retrying import Patience
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobSpec
from snakemake_executor_plugin_azureml.runs import (
    WORTH_WATCHING,
    choose_jobs,
    list_runs,
    open_client,
    read_settings,
)
from snakemake_executor_plugin_azureml.workspace import find_workspace
from snakemake_interface_common.exceptions import WorkflowError

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

PATIENCE = Patience(total_s=20, first_s=0.05)


@pytest.fixture
def client(azureml_here: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """A client, on a branch called main, of a workspace with jobs of two experiments."""
    subprocess.run(["git", "init", "--quiet", "-b", "main", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    client = connect("v2", find_workspace(), patience=PATIENCE)
    software = client.ensure_environment(EnvironmentSpec(name="quiet", image="python:3.12"))
    for name, experiment, command in (
        ("trained", "main", "true"),
        ("broken", "main", "exit 1"),
        ("elsewhere", "other", "true"),
    ):
        client.submit(
            JobSpec(
                name=name,
                display_name=f"a job that is {name}",
                experiment=experiment,
                command=command,
                environment=software,
                compute="gpu-cluster",
            )
        )
        azureml_here.wait_for(name)
    return client


def test_the_experiment_of_the_branch_is_listed(client: Client) -> None:
    broken, trained = list_runs(client, now=datetime.now(UTC) + timedelta(hours=1))
    assert (broken.name, trained.name) == ("broken", "trained")
    assert (broken.state, trained.state) == ("Failed", "Completed")
    assert (trained.display_name, trained.compute) == ("a job that is trained", "gpu-cluster")
    assert trained.experiment == "main"
    assert trained.url.startswith("https://")
    assert trained.age_s == pytest.approx(3600, abs=60)


def test_jobs_are_chosen_by_status(client: Client) -> None:
    assert [job.name for job in choose_jobs(client, status=WORTH_WATCHING)] == ["trained"]
    assert [job.name for job in choose_jobs(client, status=["failed"])] == ["broken"]
    with pytest.raises(WorkflowError, match=r"No job is ever Complete: .*Completed"):
        choose_jobs(client, status=["Complete"])


def test_jobs_are_chosen_by_experiment_and_by_name(client: Client) -> None:
    assert [job.name for job in choose_jobs(client, experiment="other")] == ["elsewhere"]
    named = choose_jobs(client, run_ids=["main/trained", "elsewhere"])
    assert [job.name for job in named] == ["trained", "elsewhere"]
    with pytest.raises(JobNotFound, match="nobody"):
        choose_jobs(client, run_ids=["nobody"])


def test_the_settings_of_a_profile_lead_to_its_workspace(
    tmp_path: Path, azureml_here: Emulator
) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("jobs: 3\nazureml-sdk: v1\nazureml-prefix: mine\n")
    settings = read_settings(profile, sdk="v2", experiment="")
    assert (settings.sdk, settings.prefix, settings.datastore) == (
        "v2",
        "mine",
        "workspaceblobstore",
    )
    assert choose_jobs(open_client(settings), experiment="main") == []


def test_a_profile_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    with pytest.raises(WorkflowError, match=r"profile\.yaml cannot be read"):
        read_settings(profile)
    profile.write_text("azureml-colour: red\n")
    with pytest.raises(WorkflowError, match=r"profile\.yaml .* colour"):
        read_settings(profile)
