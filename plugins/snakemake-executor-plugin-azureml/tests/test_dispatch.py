"""Submitting, picking up and asking, with a workspace in memory and files in Azurite."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from snakemake_executor_plugin_azureml.client import JobNotFound, Unavailable
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.dispatch import Dispatcher, Submission
from snakemake_executor_plugin_azureml.jobs import (
    EnvironmentSpec,
    Identity,
    JobInfo,
    JobSpec,
    read_resources,
)
from snakemake_executor_plugin_azureml.ordering import Order
from snakemake_executor_plugin_azureml.packing import pack_sources
from snakemake_executor_plugin_azureml.reaching import EndedError
from snakemake_interface_common.exceptions import WorkflowError

DEFAULTS = {"compute": "", "environment": "ghcr.io/a/b:1", "tier": "dedicated", "shm_size": "16g"}


@dataclass
class Workspace:
    """A client whose workspace is a dictionary."""

    blobs: ContainerClient
    specs: dict[str, JobSpec] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    registered: list[EnvironmentSpec] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    unlisted: set[str] = field(default_factory=set)
    cancelled: list[str] = field(default_factory=list)

    def submit(self, spec: JobSpec) -> JobInfo:
        assert spec.name not in self.specs
        self.specs[spec.name] = spec
        self.status[spec.name] = "Queued"
        return self.info(spec.name)

    def info(self, name: str) -> JobInfo:
        spec = self.specs[name]
        return JobInfo(
            name=name,
            status=self.status[name],
            experiment=spec.experiment,
            tags=spec.tags,
            url=f"https://portal/{name}",
        )

    def get(self, name: str) -> JobInfo:
        self.asked.append(name)
        if name not in self.specs:
            raise JobNotFound(name)
        return self.info(name)

    def list(self, *, tags: Mapping[str, str], experiment: str = "") -> Iterator[JobInfo]:
        self.asked.append("list")
        for name, spec in self.specs.items():
            if tags.items() <= spec.tags.items() and name not in self.unlisted:
                yield self.info(name)

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)

    def log_tail(self, name: str, lines: int = 40) -> list[str]:
        return ["the node was on fire"]

    def ensure_environment(self, spec: EnvironmentSpec) -> str:
        self.registered.append(spec)
        return f"{spec.name}:{spec.version}"

    def container(self, datastore: str) -> ContainerClient:
        assert datastore == "files"
        return self.blobs


@pytest.fixture
def workspace(
    container: ContainerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    monkeypatch.chdir(tmp_path)
    Path("Snakefile").write_text("rule fit: ...")
    Path("image").write_text("image")
    return Workspace(container)


def run(workspace: Workspace, **changed: Any) -> Dispatcher:
    """The dispatcher of a new run in the same folder."""
    digests = DigestCache(Path("digests.json"))
    settings: dict[str, Any] = {
        "client": workspace,
        "datastore": "files",
        "prefix": "here",
        "experiment": "main",
        "sources": pack_sources(["Snakefile"], Path("sources.tar"), digests),
        "digests": digests,
        "logger": logging.getLogger("test"),
        "ending": threading.Event(),
    }
    return Dispatcher(**settings | changed)


def order(number: int = 0, command: str = "snakemake --attempt 1", **changed: Any) -> Order:
    job = SimpleNamespace(
        is_group=lambda: False,
        name="fit",
        input=["image"],
        output=[f"model-{number}"],
        log=[f"log-{number}"],
        benchmark=None,
    )
    settings: dict[str, Any] = {
        "job": job,
        "identity": Identity(rules=("fit",), wildcards={"number": str(number)}),
        "wishes": read_resources({}, DEFAULTS),
        "command": command,
        "environment": {},
    }
    return Order(**settings | changed)


def submit(dispatcher: Dispatcher, wanted: Order | None = None) -> Submission:
    wanted = wanted or order()
    dispatcher.prepare([wanted])
    return dispatcher.submit(wanted)


def test_what_is_submitted_names_the_work_and_holds_no_secret(workspace: Workspace) -> None:
    submission = submit(run(workspace, tags={"git_commit": "abc"}))
    spec = workspace.specs[submission.info.name]
    assert spec.environment == f"snakemake-b:{workspace.registered[0].version}"
    assert spec.mounts == {"store": "azureml://datastores/files/paths/here/"}
    assert spec.command.endswith(f'"$AZUREML_MOUNT_STORE" {spec.name}')
    assert spec.tags["git_commit"] == "abc"
    assert spec.env == {}
    assert workspace.blobs.get_blob_client(f"here/jobs/{spec.name}/manifest.json").exists()


@pytest.mark.parametrize("status", ["Queued", "Running", "NotResponding", "Completed"])
def test_a_later_run_picks_up_what_is_alive_or_done(workspace: Workspace, status: str) -> None:
    name = submit(run(workspace)).info.name
    workspace.status[name] = status
    command = "snakemake --verbose --latency-wait 5 --attempt 3"
    picked_up = submit(run(workspace), order(command=command))
    assert (picked_up.info.name, picked_up.was_there) == (name, True)
    assert picked_up.info.status == status


@pytest.mark.parametrize("status", ["Failed", "Canceled", "CancelRequested"])
def test_a_later_run_submits_anew_what_is_lost(workspace: Workspace, status: str) -> None:
    name = submit(run(workspace)).info.name
    workspace.status[name] = status
    again = submit(run(workspace))
    assert again.info.name == f"{name[:-1]}2"
    assert not again.was_there


def test_a_job_that_was_recorded_but_never_arrived_keeps_its_name(workspace: Workspace) -> None:
    name = submit(run(workspace)).info.name
    del workspace.specs[name]
    assert submit(run(workspace)).info.name == name


def test_the_order_of_a_groups_members_does_not_matter(workspace: Workspace) -> None:
    first = submit(run(workspace), order(command="snakemake --target-jobs a b --cores all"))
    again = submit(run(workspace), order(command="snakemake --target-jobs b a --cores all"))
    assert again.info.name == first.info.name


@pytest.mark.parametrize("change", ["input", "sources", "command", "software", "data"])
def test_other_work_is_another_job(workspace: Workspace, change: str) -> None:
    first = submit(run(workspace))
    wanted = order()
    if change == "input":
        Path("image").write_text("another image")
    elif change == "sources":
        Path("Snakefile").write_text("rule fit: other")
    elif change == "command":
        wanted = order(command="snakemake --attempt 1 --config epochs=2")
    elif change == "software":
        wishes = read_resources({"azureml_environment": "ghcr.io/a/b:2"}, DEFAULTS)
        wanted = order(wishes=wishes)
    else:
        wishes = read_resources({"azureml_mounts": "data=azureml:scans:2"}, DEFAULTS)
        wanted = order(wishes=wishes)
    other = submit(run(workspace), wanted)
    assert other.info.name != first.info.name
    assert not other.was_there


def test_snakemakes_marker_is_enough_if_the_records_are_gone(workspace: Workspace) -> None:
    name = submit(run(workspace)).info.name
    marked = order(known_as=name)
    assert submit(run(workspace, folder=Path("elsewhere")), marked).info.name == name
    Path("image").write_text("another image")
    assert submit(run(workspace, folder=Path("third")), marked).info.name != name


def test_a_handful_is_asked_for_one_by_one_and_more_in_one_request_per_hundred(
    workspace: Workspace,
) -> None:
    dispatcher = run(workspace)
    submissions = [submit(dispatcher, order(number)) for number in range(120)]
    workspace.asked.clear()
    assert len(dispatcher.statuses(submissions)) == 120
    assert workspace.asked == ["list", "list"]
    workspace.asked.clear()
    assert len(dispatcher.statuses(submissions[:4])) == 4
    assert "list" not in workspace.asked


def test_a_job_that_the_list_does_not_have_yet_is_asked_for(workspace: Workspace) -> None:
    dispatcher = run(workspace)
    submissions = [submit(dispatcher, order(number)) for number in range(9)]
    late, gone = submissions[0].info.name, submissions[1].info.name
    workspace.unlisted.add(late)
    del workspace.specs[gone]
    assert set(dispatcher.statuses(submissions)) == {s.info.name for s in submissions} - {gone}


def test_software_is_registered_once_per_run(workspace: Workspace) -> None:
    dispatcher = run(workspace)
    dispatcher.prepare([order(number) for number in range(3)])
    dispatcher.prepare([order()])
    assert len(workspace.registered) == 1


def test_a_missing_environment_file_is_named_before_anything_is_sent(workspace: Workspace) -> None:
    wishes = read_resources({"azureml_environment": "envs/none.yaml"}, DEFAULTS)
    with pytest.raises(WorkflowError, match=r"envs/none\.yaml cannot be read"):
        run(workspace).prepare([order(wishes=wishes)])
    assert not list(workspace.blobs.list_blobs())


def test_once_the_run_ends_nothing_is_submitted(workspace: Workspace) -> None:
    dispatcher = run(workspace)
    dispatcher.prepare([order()])
    dispatcher.ending.set()
    with pytest.raises(EndedError):
        dispatcher.submit(order())
    assert not workspace.specs
    assert not dispatcher.open_jobs()


def test_a_failure_without_a_result_still_has_its_log(workspace: Workspace) -> None:
    dispatcher = run(workspace)
    submission = submit(dispatcher)
    failed = dataclasses.replace(submission.info, status="Failed")
    outcome = dispatcher.collect(submission, failed)
    assert outcome is not None
    assert not outcome.succeeded
    for text in (outcome.message, Path("log-0").read_text()):
        assert "the node was on fire" in text
        assert f"https://portal/{failed.name}" in text
    assert Path(outcome.log).read_text() == "the node was on fire\n"
    assert not dispatcher.open_jobs()
    assert not submit(run(workspace)).was_there


def test_a_completed_job_without_a_result_is_given_time(workspace: Workspace) -> None:
    dispatcher = run(workspace)
    submission = submit(dispatcher)
    completed = dataclasses.replace(submission.info, status="Completed")
    assert dispatcher.collect(submission, completed) is None
    assert dispatcher.open_jobs()


def test_cancelling_is_tried_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_azureml.dispatch.time.sleep", lambda _: None)
    dispatcher = run(workspace)
    submission = submit(dispatcher)
    answers = [Unavailable("HTTP 429"), None]

    def cancel(_name: str) -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(workspace, "cancel", cancel)
    assert dispatcher.cancel(submission.record)
    answers[:] = [Unavailable("HTTP 503")] * 9
    assert not dispatcher.cancel(submission.record)
