"""What goes wrong around a job: the head, the node, the service, the queue."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING

import pytest
from azureml_emulator.state import TERMINAL

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow

# A loaded machine is slow; the jobs would go on for minutes.
A_MOMENT_S = 30

# Each job first leaves a trace in the folder that outlives it, then takes its time.
PATIENT = """
    rule all:
        input: expand("results/{number}.txt", number=range(2))
    rule wait:
        output: "results/{number}.txt"
        resources: azureml_mounts=".state"
        shell: "echo began >> .state/{wildcards.number}; sleep {config[seconds]}; date > {output}"
"""


def seconds(count: float) -> tuple[str, str]:
    return "--config", f"seconds={count}"


def test_a_new_run_picks_up_the_jobs_of_a_run_that_was_killed(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    head = project.start(*seconds(12))
    project.azureml.wait_until(
        lambda: [job.status for job in project.jobs("wait")] == ["Running"] * 2, timeout_s=60
    )
    head.send_signal(signal.SIGKILL)
    head.wait()
    project.run("--unlock")
    # What is printed and when a job is tried again does not make it another job.
    said = project.run("--printshellcmds", "--verbose", "--rerun-incomplete", *seconds(12))
    assert said.count("Picked up wait-") == 2
    assert [job.statuses.count("Running") for job in project.jobs()] == [1, 1]
    assert project.read("results/1.txt")


def test_azureml_core_survives_as_much(project: Project) -> None:
    """Groups, directories, a preempted node, a job that fails once, a head that is killed."""
    project.write(
        "Snakefile",
        """
        rule all:
            input: expand("predictions/{fold}", fold=range(2))
        rule train:
            output: directory("models/{fold}")
            group: "fold"
            resources: azureml_mounts=".state"
            shell: "echo began >> .state/{wildcards.fold}; sleep 4; mkdir -p {output}/empty; "
                   "cp .state/{wildcards.fold} {output}/log; test $(wc -l < {output}/log) -eq 2"
        rule predict:
            input: "models/{fold}"
            output: "predictions/{fold}"
            group: "fold"
            shell: "test -d {input}/empty && cp {input}/log {output}"
        """,
    )
    emulator = project.azureml
    emulator.preempt("^train-predict-0", mount=r"persistent/.*/\.state/0$")
    options = ("--azureml-sdk", "v1", "--retries", "1")
    head = project.start(*options)
    emulator.wait_until(
        lambda: any(job.statuses.count("Running") == 2 for job in project.jobs()),
        timeout_s=60,
    )
    head.kill()
    head.wait()
    project.run("--unlock")
    said = project.run(*options)
    assert "Picked up train-predict-0" in said
    assert {job.sdk for job in project.jobs()} == {"v1"}
    starts = {job.name[:15] + job.name[-2:]: job.exit_codes for job in project.jobs()}
    assert starts == {
        "train-predict-0-1": [None, 0],
        "train-predict-1-1": [1],
        "train-predict-1-2": [0],
    }
    assert project.read("predictions/0") == project.read("predictions/1") == "began\nbegan\n"
    assert (project.folder / "models/1/empty").is_dir()


def test_a_job_that_was_begun_otherwise_is_not_picked_up(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    head = project.start("results/0.txt", *seconds(30))
    first = project.wait_for("wait")
    head.kill()
    head.wait()
    project.run("--unlock")
    project.run("results/0.txt", *seconds(0))
    assert [job.name == first.name for job in project.jobs()] == [True, False]


def test_a_job_that_failed_while_nobody_looked_is_submitted_again(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    head = project.start("results/0.txt", *seconds(3))
    job = project.wait_for("wait")
    head.kill()
    head.wait()
    project.azureml.workspace.jobs[job.name].cancellation.set()
    project.azureml.wait_for(job.name, "Canceled")
    project.run("--unlock")
    said = project.run("results/0.txt", *seconds(3))
    assert f"{job.name} is canceled: submitting anew" in said
    assert [job.name[-2:] for job in project.jobs()] == ["-1", "-2"]
    # A forced run is another job too, although this one has succeeded.
    project.run("results/0.txt", "--force", *seconds(3))
    assert [job.name[-2:] for job in project.jobs()] == ["-1", "-2", "-3"]


def test_a_preempted_job_is_waited_for(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    project.azureml.preempt("^wait-0", mount=r"persistent/.*/\.state/0$")
    project.run("results/0.txt", *seconds(4))
    (job,) = project.jobs()
    assert job.statuses.count("Running") == 2
    state = project.azureml.blobs("snakemake/persistent/")
    assert [content for name, content in state.items() if name.endswith("/0")] == [
        b"began\nbegan\n"
    ]


def test_throttling_and_outages_lose_no_job_and_submit_none_twice(project: Project) -> None:
    project.write("Snakefile", PATIENT.replace("range(2)", "range(7)"))
    emulator = project.azureml
    faults = [
        emulator.throttle("/workspaces/.*/jobs", 3, retry_after_s=1),
        emulator.add_fault("error", path="/workspaces/.*/jobs", status=503, count=4, skip=6),
        emulator.add_fault("drop", path="/jobs/wait-3", method="PUT", service="api", after=True),
        emulator.add_fault("drop", path="result.json", count=2),
        emulator.throttle("/blobs/", 2),
    ]
    said = project.run("--retries", "0", *seconds(2))
    assert all(fault.used == fault.count for fault in faults), faults
    assert len(project.jobs()) == 7
    assert all(job.statuses.count("Running") == 1 for job in project.jobs())
    assert "Traceback" not in said


def test_ctrl_c_cancels_what_was_submitted(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    head = project.start(*seconds(300))
    job = project.wait_for("wait")
    head.send_signal(signal.SIGINT)
    assert head.wait(timeout=60) == 1
    assert project.azureml.wait_for(job.name).status == "Canceled"
    assert re.search(r"Cancelled \d of \d jobs", project.said())
    assert all(job.status in TERMINAL | {"CancelRequested"} for job in project.jobs())


def test_sigterm_ends_within_seconds_and_leaves_jobs_if_told_so(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    options = ("--azureml-cancel-on-interrupt", "false", *seconds(10))
    head = project.start(*options)
    project.azureml.wait_until(
        lambda: [job.status for job in project.jobs("wait")] == ["Running"] * 2, timeout_s=60
    )
    started = time.monotonic()
    head.send_signal(signal.SIGTERM)
    assert head.wait(timeout=60) == 1
    assert time.monotonic() - started < A_MOMENT_S
    assert "2 jobs keep running" in project.said()
    # No --unlock: the run has ended in order.
    said = project.run(*options)
    assert said.count("Picked up") == 2
    assert len(project.jobs()) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "delay", "path": "/blobs/", "service": "blob", "method": "PUT", "seconds": 2},
        {"kind": "delay", "path": "/jobs$", "service": "api", "method": "GET", "seconds": 600},
    ],
    ids=["while-files-are-sent", "while-the-service-is-silent"],
)
def test_sigterm_ends_within_seconds(project: Project, fault: dict[str, object]) -> None:
    project.write("Snakefile", PATIENT.replace("range(2)", "range(60)"))
    for number in range(60):
        project.write(f"data/{number}", f"{number} {fault}")
    project.write(
        "Snakefile",
        """
        rule wait:
            input: "data"
            output: "results/{number}.txt"
            shell: "sleep 300"
        """,
    )
    emulator = project.azureml
    emulator.add_fault(count=1000, **fault)
    head = project.start(*(f"results/{number}.txt" for number in range(7)))
    emulator.wait_until(
        lambda: any(request.fault for request in emulator.requests()) or project.jobs(),
        timeout_s=60,
    )
    time.sleep(3)
    started = time.monotonic()
    head.send_signal(signal.SIGTERM)
    head.wait(timeout=60)
    assert time.monotonic() - started < A_MOMENT_S
    assert not (project.folder / ".snakemake/locks").exists()


def test_sigterm_ends_local_jobs_too(project: Project) -> None:
    project.write(
        "Snakefile",
        PATIENT
        + """
    rule here:
        output: "here.txt"
        localrule: True
        shell: "touch started; sleep 300; touch {output}"
    """,
    )
    head = project.start("results/0.txt", "here.txt", *seconds(300))
    job = project.wait_for("wait")
    project.azureml.wait_until((project.folder / "started").exists)
    started = time.monotonic()
    head.send_signal(signal.SIGTERM)
    head.wait(timeout=60)
    assert time.monotonic() - started < A_MOMENT_S
    assert project.azureml.wait_for(job.name).status == "Canceled"


def test_a_job_that_never_leaves_the_queue_is_talked_about(project: Project) -> None:
    project.write("Snakefile", PATIENT)
    project.azureml.add_fault("stuck", job="^wait")
    project.start("results/0.txt", "--azureml-queue-patience-min", "0.05", *seconds(1))
    project.azureml.wait_until(lambda: "waiting for a node" in project.said(), timeout_s=60)
    (job,) = project.jobs()
    line = next(line for line in project.said().splitlines() if "waiting for a node" in line)
    assert job.name in line
    assert "https://" in line


def test_no_more_jobs_than_allowed_are_there_at_a_time(project: Project) -> None:
    project.write("Snakefile", PATIENT.replace("range(2)", "range(5)"))
    project.azureml.add_compute("cpu-cluster", max_nodes=5)
    head = project.start("--azureml-max-concurrent", "2", *seconds(1))
    most = 0
    while head.poll() is None:
        most = max(most, sum(job.status not in TERMINAL for job in project.jobs()))
        time.sleep(0.02)
    assert head.returncode == 0, project.said()
    assert (most, len(project.jobs())) == (2, 5)
