"""The thread that polls, with a dispatcher that answers as a test wants."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_executor_plugin_azureml import Executor, ExecutorSettings, common_settings
from snakemake_executor_plugin_azureml.client import Unavailable
from snakemake_executor_plugin_azureml.collecting import Outcome
from snakemake_executor_plugin_azureml.dispatch import Submission
from snakemake_executor_plugin_azureml.jobs import Identity, JobInfo
from snakemake_interface_common.exceptions import WorkflowError


class Reports:
    """What Snakemake's scheduler was told."""

    def __init__(self) -> None:
        self.finished: list[Any] = []
        self.failed: list[Any] = []
        self.crashes: list[Exception] = []

    def submit_callback(self, job: Any) -> None: ...

    def finish_callback(self, job: Any) -> None:
        self.finished.append(job)

    def error_callback(self, job: Any) -> None:
        self.failed.append(job)

    def executor_error_callback(self, error: Exception) -> None:
        self.crashes.append(error)


class Job:
    """A job of Snakemake as far as the executor looks at it here."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.registered_as = ""

    def is_group(self) -> bool:
        return False

    def register(self, external_jobid: str) -> None:
        self.registered_as = external_jobid

    def log_error(self, msg: str, **_: object) -> None:
        self.errors.append(msg)


class Dispatcher:
    """Takes every order; a test sets what becomes of it."""

    def __init__(self) -> None:
        self.status: list[str | Exception] = ["Completed"]
        self.outcomes: list[Outcome | Exception | None] = [Outcome(succeeded=True)]
        self.refusal: Exception | None = None
        self.closed: list[str] = []

    def submit(self, order: Any) -> Submission:
        if self.refusal is not None:
            raise self.refusal
        info = JobInfo(name="fit-1", status="Queued", experiment="main", tags={}, url="https://p")
        return SimpleNamespace(order=order, info=info, was_there=False)  # type: ignore[return-value]

    def statuses(self, submissions: list[Submission]) -> dict[str, JobInfo]:
        status = self.status.pop(0) if len(self.status) > 1 else self.status[0]
        if isinstance(status, Exception):
            raise status
        info = JobInfo(name="fit-1", status=status, experiment="main", tags={}, url="https://p")
        return {info.name: info} if status else {}

    def collect(self, submission: Submission, info: JobInfo) -> Outcome | None:
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self, submission: Submission, outcome: str) -> None:
        self.closed.append(outcome)


@pytest.fixture
def make_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Executor]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").mkdir()
    module = "snakemake_executor_plugin_azureml.executor"
    monkeypatch.setattr(f"{module}._SHORTEST_INTERVAL_S", 0.02)
    monkeypatch.setattr(f"{module}._TICK_S", 0.01)
    made = []

    def make_executor(kind: type[Executor] = Executor) -> Executor:
        settings = ExecutorSettings(
            subscription_id="s", resource_group="g", workspace_name="w", environment="e:1"
        )
        workflow = SimpleNamespace(
            dag=None,
            scheduler=Reports(),
            main_snakefile="Snakefile",
            executor_settings=settings,
            executor_plugin=SimpleNamespace(common_settings=common_settings),
            storage_settings=SimpleNamespace(shared_fs_usage=frozenset()),
            remote_execution_settings=SimpleNamespace(
                max_status_checks_per_second=100,
                seconds_between_status_checks=0,
                jobname="{jobid}",
                jobscript=None,
                immediate_submit=False,
            ),
        )
        made.append(kind(workflow, logging.getLogger("test")))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.shutdown()


def run(executor: Executor, dispatcher: Dispatcher, *, until: str, timeout_s: float = 5) -> Job:
    """Queue a job and wait for a list of `Reports` to have an entry."""
    job = Job()
    executor._orders.append(SimpleNamespace(job=job, identity=Identity(rules=("fit",))))
    executor._dispatcher = dispatcher  # type: ignore[assignment]
    end = time.monotonic() + timeout_s
    while not getattr(executor.workflow.scheduler, until) and time.monotonic() < end:
        time.sleep(0.01)
    assert getattr(executor.workflow.scheduler, until) == [job]
    assert not executor.workflow.scheduler.crashes
    assert executor.wait_thread.is_alive()
    return job


def test_polling_survives_a_slow_start(make_executor: Callable[..., Executor]) -> None:
    class SlowExecutor(Executor):
        def __post_init__(self) -> None:
            time.sleep(0.3)
            super().__post_init__()

    executor = make_executor(SlowExecutor)
    assert run(executor, Dispatcher(), until="finished").registered_as == "fit-1"


def test_no_exception_while_asking_ends_the_run(make_executor: Callable[..., Executor]) -> None:
    dispatcher = Dispatcher()
    dispatcher.status = [Unavailable("HTTP 503"), ValueError("odd"), "", "Running", "Completed"]
    run(make_executor(), dispatcher, until="finished")


def test_files_that_do_not_come_at_once_are_waited_for(
    make_executor: Callable[..., Executor],
) -> None:
    dispatcher = Dispatcher()
    dispatcher.outcomes = [Unavailable("HTTP 500"), None, Outcome(succeeded=True)]
    run(make_executor(), dispatcher, until="finished")


def test_a_job_that_cannot_be_submitted_fails_alone(make_executor: Callable[..., Executor]) -> None:
    dispatcher = Dispatcher()
    dispatcher.refusal = WorkflowError("no such compute")
    job = run(make_executor(), dispatcher, until="failed")
    assert "Could not submit fit: no such compute" in job.errors[0]


@pytest.mark.parametrize(
    ("status", "outcome", "complaint"),
    [
        ("", None, "does not exist any more"),
        ("Completed", None, "has left no result"),
        ("Completed", WorkflowError("damaged"), "Could not bring back fit-1: damaged"),
        ("Failed", Outcome(succeeded=False, message="exit code 3"), "exit code 3"),
    ],
)
def test_failures_are_reported(
    make_executor: Callable[..., Executor],
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    outcome: Outcome | Exception | None,
    complaint: str,
) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_azureml.executor._ARRIVAL_PATIENCE_S", 0.1)
    dispatcher = Dispatcher()
    dispatcher.status, dispatcher.outcomes = [status], [outcome]
    job = run(make_executor(), dispatcher, until="failed")
    assert complaint in job.errors[0]


def test_a_service_that_is_silent_does_not_keep_the_run_from_ending(
    make_executor: Callable[..., Executor], monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = Dispatcher()
    asked, released = threading.Event(), threading.Event()

    def statuses(_: object) -> dict[str, JobInfo]:
        asked.set()
        released.wait(10)
        return {}

    monkeypatch.setattr(dispatcher, "statuses", statuses)
    executor = make_executor()
    executor._orders.append(SimpleNamespace(job=Job(), identity=Identity(rules=("fit",))))
    executor._dispatcher = dispatcher  # type: ignore[assignment]
    assert asked.wait(5)
    started = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - started < 2
    released.set()
