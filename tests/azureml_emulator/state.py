"""What the emulator knows: workspaces, computes, jobs, assets."""

from __future__ import annotations

import datetime
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from azureml_emulator.storage import ARTIFACTSTORE, Location, Storage

WAITING = ("NotStarted", "Starting", "Preparing", "Queued")
TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
SERVERLESS = "serverless"
SERVERLESS_NODES = 100
ARTIFACT_FOLDERS = ("logs", "outputs")
STANDARD_LOG = "user_logs/std_log.txt"


def timestamp() -> str:
    """Now, in the form in which Azure writes times."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Mount:
    """A folder of a datastore that a job sees under a name; `side` is "inputs" or "outputs"."""

    name: str
    location: Location
    side: str
    is_read: bool = True
    is_written: bool = False


@dataclass
class Compute:
    """A cluster: `max_nodes` of them work at a time, and the jobs beyond wait in its queue."""

    name: str
    max_nodes: int = 4
    vm_size: str = "STANDARD_NC24ADS_A100_V4"
    is_low_priority: bool = False


@dataclass
class Job:
    """A command job, whichever SDK submitted it.

    `definition` is what was submitted. `history` has every status with its time; `exit_codes` one
    entry for each time the command ran, None where it was killed by a preemption; `logs` the text
    that each wrote.
    """

    name: str
    command: str
    experiment: str
    compute: str
    definition: dict[str, Any]
    display_name: str = ""
    description: str = ""
    environment_variables: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    code: Location | None = None
    nodes: int = 1
    timeout_s: float | None = None
    sdk: str = "v2"
    error: str = ""
    created: str = field(default_factory=timestamp)
    started: str | None = None
    ended: str | None = None
    history: list[tuple[str, str]] = field(default_factory=list)
    exit_codes: list[int | None] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    number: int = 0
    artifacts: Location = field(init=False)
    cancellation: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self) -> None:
        self.artifacts = Location(ARTIFACTSTORE, f"ExperimentRun/dcid.{self.name}")
        self.display_name = self.display_name or self.name
        self.move_to("NotStarted")

    @property
    def status(self) -> str:
        """The status as the service states it."""
        last = self.history[-1][1]
        is_being_canceled = self.cancellation.is_set() and last not in TERMINAL
        return "CancelRequested" if is_being_canceled else last

    @property
    def phase(self) -> str:
        """The status apart from a request to cancel."""
        return self.history[-1][1]

    @property
    def statuses(self) -> list[str]:
        """Every status so far, in order."""
        return [status for _, status in self.history]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.phase in TERMINAL

    @property
    def runs(self) -> int:
        """How often its command has run."""
        return len(self.exit_codes)

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command's last run."""
        return self.exit_codes[-1] if self.exit_codes else None

    def move_to(self, status: str) -> None:
        """Change the status."""
        now = timestamp()
        if status == "Running":
            self.started = self.started or now
        if status in TERMINAL:
            self.ended = now
        self.history.append((now, status))


@dataclass
class Workspace:
    """A workspace.

    `assets` are by kind ("models"), then by name and version, oldest first; `node_variables` are
    set on every node, as by an image or by the identity of a cluster.
    """

    subscription_id: str
    resource_group: str
    name: str
    storage: Storage
    jobs: dict[str, Job] = field(default_factory=dict)
    computes: dict[str, Compute] = field(default_factory=dict)
    assets: dict[str, dict[tuple[str, str], dict[str, Any]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    node_variables: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.identity = str(uuid.uuid5(uuid.NAMESPACE_URL, self.path))
        self.add_compute(Compute(SERVERLESS, max_nodes=SERVERLESS_NODES))

    @property
    def path(self) -> str:
        """The workspace's identity in Azure: what the paths of its resources begin with."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    def add_compute(self, compute: Compute) -> None:
        """Add or replace a cluster."""
        self.computes[compute.name] = compute

    def add_job(self, job: Job) -> Job:
        """Add a job and return it, or the one that there is already by that name."""
        with self.lock:
            known = self.jobs.setdefault(job.name, job)
            if known is job:
                job.number = len(self.jobs)
            return known

    def newest_jobs(self) -> Iterator[Job]:
        """All jobs, newest first."""
        with self.lock:
            return reversed(list(self.jobs.values()))

    def experiment_identity(self, name: str) -> str:
        """The identity of an experiment; it exists as soon as somebody asks for it."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.path}/experiments/{name}"))

    def asset_versions(self, kind: str, name: str) -> list[dict[str, Any]]:
        """The versions of an asset, newest first."""
        with self.lock:
            versions = self.assets[kind].items()
            return [asset for (known, _), asset in versions if known == name][::-1]

    def snapshot(self, identity: str) -> Location:
        """Where the files of a snapshot of azureml-core are."""
        return Location(ARTIFACTSTORE, f"snapshots/{identity}")
