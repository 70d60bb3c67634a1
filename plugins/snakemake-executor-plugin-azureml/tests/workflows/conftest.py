"""Workflows that run on the emulator, each in a folder and a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator
    from azureml_emulator.state import Job

DEFAULTS = (
    *("--executor", "azureml", "--jobs", "20", "--seconds-between-status-checks", "1"),
    *("--azureml-environment", "ghcr.io/lab/pipeline:1", "--azureml-compute", "cpu-cluster"),
    *("--latency-wait", "2", "--nocolor"),
)


@dataclass
class Project:
    """A folder with a workflow, and Snakemake run in it."""

    folder: Path
    azureml: Emulator
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, path: str, text: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text).lstrip("\n"))
        return target

    def commit(self) -> None:
        for command in ("add --all", "-c user.name=me -c user.email=m@e commit --quiet -m all"):
            subprocess.run(["git", *command.split()], cwd=self.folder, check=True)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start Snakemake; what it says goes to head.log."""
        log = (self.folder.parent / "head.log").open("a")
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *DEFAULTS, *arguments],
            cwd=self.folder,
            env=self.azureml.process_environment | {"PYTHONFAULTHANDLER": "1"} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str, expect: int = 0, **environment: str) -> str:
        """Run Snakemake to its end; return what it said."""
        before = len(self.said())
        process = self.start(*arguments, **environment)
        try:
            code = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # its threads say where they are
            code = process.wait()
        said = self.said()[before:]
        assert code == expect, said
        return said

    def said(self) -> str:
        log = self.folder.parent / "head.log"
        return log.read_text() if log.exists() else ""

    def run_locally(self, *arguments: str) -> str:
        """Run Snakemake without the executor."""
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments, "--cores", "1", "--nocolor"],
            cwd=self.folder,
            env=self.azureml.process_environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stderr

    def jobs(self, rule: str = "") -> list[Job]:
        """Jobs of a rule, oldest first."""
        return [job for job in self.azureml.jobs() if re.match(rule, job.name)]

    def wait_for(self, rule: str, status: str = "Running", timeout_s: float = 60) -> Job:
        """Wait for the first job of a rule to have a status."""

        def is_there() -> bool:
            return any(job.status == status for job in self.jobs(rule))

        self.azureml.wait_until(is_there, timeout_s=timeout_s)
        return next(job for job in self.jobs(rule) if job.status == status)

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def project(azureml: Emulator, tmp_path: Path) -> Iterator[Project]:
    """An empty folder under git."""
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet", "-b", "my-branch/2"], cwd=folder, check=True)
    project = Project(folder, azureml)
    yield project
    project.stop()
