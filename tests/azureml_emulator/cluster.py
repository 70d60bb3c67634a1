"""The clusters: which job runs when, and what becomes of it."""

from __future__ import annotations

import threading
import time
import traceback
from pathlib import Path

from azureml_emulator.faults import Faults
from azureml_emulator.mirrors import BlobCache
from azureml_emulator.node import Node, Outcome
from azureml_emulator.state import WAITING, Job, Workspace

TICK_S = 0.02


class Cluster:
    """Takes jobs through the queue in the order of their submission and runs their commands.

    Parameters
    ----------
    folder
        The disks of all nodes lie below it.
    pace_s
        How long a job stays in each of the states before `Running`.
    """

    def __init__(self, folder: Path, faults: Faults, *, pace_s: float) -> None:
        self._folder = folder
        self._faults = faults
        self.pace_s = pace_s
        self._waiting: list[tuple[Workspace, Job]] = []
        self._since: dict[str, float] = {}
        self._busy: dict[tuple[str, str], int] = {}
        self._running: list[Job] = []
        self._caches: dict[tuple[str, str], BlobCache] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._schedule, daemon=True)
        self._thread.start()

    def submit(self, workspace: Workspace, job: Job) -> None:
        """Let a job begin its way."""
        with self._lock:
            self._since[job.name] = time.monotonic()
            self._waiting.append((workspace, job))

    def cancel(self, job: Job) -> None:
        """Ask a job to end; one that is over stays what it is."""
        if not job.is_over:
            job.cancellation.set()

    def stop(self, timeout_s: float = 20) -> None:
        """Cancel all jobs and wait until their processes are gone."""
        self._stopping.set()
        self._thread.join()
        end = time.monotonic() + timeout_s
        with self._lock:
            for job in [*self._running, *(job for _, job in self._waiting)]:
                job.cancellation.set()
        while self._running and time.monotonic() < end:
            time.sleep(TICK_S)

    def _schedule(self) -> None:
        while not self._stopping.wait(TICK_S):
            with self._lock:
                still_waiting = []
                for workspace, job in self._waiting:
                    if not self._leaves_queue(workspace, job):
                        still_waiting.append((workspace, job))
                self._waiting = still_waiting

    def _leaves_queue(self, workspace: Workspace, job: Job) -> bool:
        if job.cancellation.is_set():
            job.move_to("Canceled")
            return True
        if job.phase != WAITING[-1]:
            if time.monotonic() - self._since[job.name] >= self.pace_s:
                self._since[job.name] = time.monotonic()
                job.move_to(WAITING[WAITING.index(job.phase) + 1])
            return False
        is_ripe = time.monotonic() - self._since[job.name] >= self.pace_s
        if not is_ripe or self._faults.holds(job.name) or not self._take_nodes(workspace, job):
            return False
        self._running.append(job)
        threading.Thread(target=self._run, args=(workspace, job), daemon=True).start()
        return True

    def _take_nodes(self, workspace: Workspace, job: Job) -> bool:
        key = (workspace.name, job.compute)
        busy = self._busy.get(key, 0)
        if busy + job.nodes > workspace.computes[job.compute].max_nodes:
            return False
        self._busy[key] = busy + job.nodes
        return True

    def _run(self, workspace: Workspace, job: Job) -> None:
        outcome: Outcome | None = None
        try:
            outcome = self._run_once(workspace, job)
            if outcome is not Outcome.PREEMPTED:
                self._conclude(job, outcome)
        except Exception as error:  # a defect of the emulator: the job must end nevertheless
            traceback.print_exc()
            job.error = f"Defect of the emulator: {error!r}"
            job.move_to("Failed")
        finally:
            with self._lock:
                self._running.remove(job)
                self._busy[workspace.name, job.compute] -= job.nodes
                if outcome is Outcome.PREEMPTED:
                    job.move_to("Queued")
                    self.submit(workspace, job)

    def _run_once(self, workspace: Workspace, job: Job) -> Outcome | None:
        job.error = ""
        if self._faults.take_job("fail_at_start", job.name):
            job.error = "The node could not be prepared: the emulator was told to fail this job."
            return None
        folder = self._folder / workspace.name / job.compute / f"{job.number}-{job.runs + 1}"
        node = Node(workspace, job, folder, self._cache(workspace, job), self._faults)
        try:
            node.prepare()
            job.move_to("Running")
            return node.run()
        finally:
            node.remove()

    def _cache(self, workspace: Workspace, job: Job) -> BlobCache:
        key = (workspace.name, job.compute)
        with self._lock:
            if key not in self._caches:
                self._caches[key] = BlobCache(self._folder.joinpath(*key, "cache"))
            return self._caches[key]

    def _conclude(self, job: Job, outcome: Outcome | None) -> None:
        if outcome is Outcome.EXITED and job.exit_code == 0:
            job.move_to("Completed")
        elif outcome is Outcome.CANCELED:
            job.move_to("Canceled")
        elif outcome is Outcome.TIMED_OUT:
            job.error = f"The job was canceled: it ran longer than its limit, {job.timeout_s:g} s."
            job.move_to("Canceled")
        else:
            job.error = job.error or (
                f"Execution failed. User process exited with status code {job.exit_code}."
            )
            job.move_to("Failed")
