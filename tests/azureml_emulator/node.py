"""One run of a job's command: a private folder, a clean environment, a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import psutil

from azureml_emulator.faults import Faults
from azureml_emulator.mirrors import BlobCache, Mirror
from azureml_emulator.state import ARTIFACT_FOLDERS, STANDARD_LOG, Job, Mount, Workspace

SYNCHRONISE_EVERY_S = 0.3
POLL_EVERY_S = 0.02
# How long a job that was told to end may take before it is killed.
GRACE_S = 3.0
NODE_PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


class Outcome(Enum):
    """How a run of a command ended."""

    EXITED = "exited"
    CANCELED = "canceled"
    TIMED_OUT = "timed out"
    PREEMPTED = "preempted"


@dataclass
class Node:
    """A machine that runs one command once, in a new and empty folder.

    Parameters
    ----------
    folder
        The machine's disk: removed when the command has ended.
    cache
        Blobs that machines of this cluster have downloaded before.
    """

    workspace: Workspace
    job: Job
    folder: Path
    cache: BlobCache
    faults: Faults

    def __post_init__(self) -> None:
        self.working_folder = self.folder / "work"
        self._log = self.folder / STANDARD_LOG
        for name in ("work", "home", "tmp"):
            (self.folder / name).mkdir(parents=True)
        self._log.parent.mkdir()
        storage = self.workspace.storage
        artifacts = storage.client(self.job.artifacts.datastore)
        folders = [self._log.parent, *(self.working_folder / name for name in ARTIFACT_FOLDERS)]
        self._artifacts = [
            Mirror(folder, artifacts, f"{self.job.artifacts.prefix}{folder.name}/")
            for folder in folders
        ]
        self._mounts = {
            mount: Mirror(
                self.mount_folder(mount),
                storage.client(mount.location.datastore),
                mount.location.prefix,
            )
            for mount in self.job.mounts
        }

    def mount_folder(self, mount: Mount) -> Path:
        """Where this machine has a mount."""
        return self.folder / "mounts" / mount.side / mount.name

    def prepare(self) -> None:
        """Fetch what the command may want to read: its code and its mounts."""
        if self.job.code:
            container = self.workspace.storage.client(self.job.code.datastore)
            Mirror(self.working_folder, container, self.job.code.prefix).pull(self.cache)
        for mount, mirror in self._mounts.items():
            self.mount_folder(mount).mkdir(parents=True)
            if mount.is_read:
                mirror.pull(self.cache)

    def run(self) -> Outcome:
        """Run the command to its end, synchronising meanwhile."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", self._command()],
                cwd=self.working_folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            outcome = self._watch(process)
        _kill(process, signal.SIGKILL)
        exit_code = process.wait()
        self._kill_leftovers()
        self.job.logs.append(self._log.read_text(errors="replace"))
        self.job.exit_codes.append(None if outcome is Outcome.PREEMPTED else exit_code)
        if outcome is not Outcome.PREEMPTED:
            self.job.move_to("Finalizing")
            self._synchronise()
        return outcome

    def remove(self) -> None:
        """Remove the machine's disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _watch(self, process: subprocess.Popen[bytes]) -> Outcome:
        start = next_time = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            elapsed = now - start
            arrived = None
            if now >= next_time:
                arrived = self._synchronise()
                next_time = time.monotonic() + self._pause_s(time.monotonic() - now)
            if self._is_preempted(elapsed, arrived):
                _kill(process, signal.SIGKILL)
                return Outcome.PREEMPTED
            if self.job.cancellation.is_set():
                return _end(process, Outcome.CANCELED)
            if self.job.timeout_s and elapsed > self.job.timeout_s:
                return _end(process, Outcome.TIMED_OUT)
            time.sleep(POLL_EVERY_S)
        return Outcome.EXITED

    def _pause_s(self, took_s: float) -> float:
        """Seconds from one synchronisation, which took so long, to the next."""
        if any(fault.mount for fault in self.faults.preemptions(self.job.name)):
            return 0.0  # what it waits for may not be there for long
        # A store of very many files takes long to look through: do other things as well.
        return max(SYNCHRONISE_EVERY_S, 4 * took_s)

    def _kill_leftovers(self) -> None:
        """Kill what the command has left running in sessions of its own: a node is gone whole."""
        while leftovers := [process for process in psutil.process_iter() if self._has(process)]:
            for process in leftovers:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(leftovers, timeout=POLL_EVERY_S)

    def _has(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("HOME") == str(self.folder / "home")
        except psutil.Error:  # it has ended, or is somebody else's
            return False

    def _is_preempted(self, elapsed_s: float, arrived: list[str] | None) -> bool:
        for fault in self.faults.preemptions(self.job.name):
            if fault.log or fault.mount:
                is_due = arrived is not None and (
                    bool(fault.log and re.search(fault.log, self._log.read_text(errors="replace")))
                    or bool(fault.mount and any(re.search(fault.mount, n) for n in arrived))
                )
            else:
                is_due = elapsed_s >= fault.seconds
            if is_due and self.faults.spend(fault):
                return True
        return False

    def _synchronise(self) -> list[str]:
        for mirror in self._artifacts:
            mirror.push()
        return [
            name
            for mount, mirror in self._mounts.items()
            if mount.is_written
            for name in mirror.push()
        ]

    def _command(self) -> str:
        command = self.job.command
        for mount in self.job.mounts:
            expression = rf"\$\{{\{{\s*{mount.side}\.{re.escape(mount.name)}\s*\}}\}}"
            folder = str(self.mount_folder(mount))
            command = re.sub(expression, folder.replace("\\", r"\\"), command)
        return command

    def _environment(self) -> dict[str, str]:
        workspace = self.workspace
        environment = {
            "PATH": NODE_PATH,
            "LANG": "C.UTF-8",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "AZUREML_RUN_ID": self.job.name,
            "AZUREML_ROOT_RUN_ID": self.job.name,
            "AZUREML_EXPERIMENT_NAME": self.job.experiment,
            "AZUREML_ARM_SUBSCRIPTION": workspace.subscription_id,
            "AZUREML_ARM_RESOURCEGROUP": workspace.resource_group,
            "AZUREML_ARM_WORKSPACE_NAME": workspace.name,
            "AZUREML_CR_NODE_RANK": "0",
        }
        for mount in self.job.mounts:
            # The names that jobs of one SDK and of the other find their mounts under.
            variable = f"AZURE_ML_{mount.side.removesuffix('s').upper()}_{mount.name}"
            if self.job.sdk == "v1":
                variable = f"AZUREML_DATAREFERENCE_{mount.name}"
            environment[variable] = str(self.mount_folder(mount))
        return environment | workspace.node_variables | self.job.environment_variables


def _end(process: subprocess.Popen[bytes], outcome: Outcome) -> Outcome:
    _kill(process, signal.SIGTERM)
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        _kill(process, signal.SIGKILL)
    return outcome


def _kill(process: subprocess.Popen[bytes], signal_number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them may have ended
        os.killpg(process.pid, signal_number)
