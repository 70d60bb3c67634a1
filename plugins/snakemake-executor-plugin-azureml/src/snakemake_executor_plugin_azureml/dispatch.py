"""The way of a job: pack, send, submit or pick up, ask, bring back. Knows nothing of scheduling."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import re
import shlex
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client import Client, JobNotFound, Unavailable
from snakemake_executor_plugin_azureml.collecting import Collector, Outcome
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.jobs import (
    JobInfo,
    JobSpec,
    job_name,
    mount_variable,
    parse_environment,
)
from snakemake_executor_plugin_azureml.ordering import Order
from snakemake_executor_plugin_azureml.packing import (
    Manifest,
    Package,
    Sources,
    pack_job,
    parse_mounts,
    stage,
)
from snakemake_executor_plugin_azureml.reaching import CurrentContainer, insist, require_going_on
from snakemake_executor_plugin_azureml.records import FOLDER, Record, Records
from snakemake_executor_plugin_azureml.store import Store

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

STORE = "store"
"""Name of the mount that files travel through."""

A_HANDFUL = 5
"""So many jobs are asked for one by one; of more, the list is read."""

BATCH = 100
"""Jobs that share a tag. A list of them costs the same however many jobs a run has had before."""

_LOST = frozenset({"Failed", "Canceled", "CancelRequested"})
_PAUSES_BEFORE_CANCELLING_AGAIN_S = (0.5, 1.0, 2.0)

# Arguments of the inner Snakemake that change neither what a job makes nor what it makes it from.
_INESSENTIAL = re.compile(
    r" --(?:verbose|printshellcmds|keep-incomplete"
    r"|(?:attempt|latency-wait|scheduler|scheduler-solver-path) \S+"
    r"|unneeded-temp-files(?: (?!--)\S+)+)(?= |$)"
)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job that is in the workspace."""

    order: Order
    record: Record
    manifest: Manifest
    info: JobInfo
    was_there: bool
    """Whether an earlier run had submitted it."""


@dataclass(kw_only=True)
class Dispatcher:
    """Brings jobs to the workspace and their files back; its methods may run side by side.

    Attributes
    ----------
    experiment
        The experiment that jobs are listed in.
    tags
        Tags of all jobs, such as the git commit.
    identity_client_id
        The managed identity that jobs run as; empty for the compute's.
    ending
        Once it is set, waiting ends and nothing new is begun.
    """

    client: Client
    datastore: str
    prefix: str
    experiment: str
    sources: Sources
    digests: DigestCache
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    ending: threading.Event
    tags: Mapping[str, str] = field(default_factory=dict)
    identity_client_id: str = ""
    folder: Path = FOLDER
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def __post_init__(self) -> None:
        self.records = Records(self.folder)
        container = CurrentContainer(self.client, self.datastore, self.ending)
        self.store = Store(cast("ContainerClient", container), self.prefix)
        self._environments: dict[str, str] = {}
        self._collector = Collector(
            client=self.client,
            store=self.store,
            digests=self.digests,
            logs=self.folder / "logs",
            ending=self.ending,
        )
        self._open: dict[str, Record] = {}
        self._submitted = 0
        self._lock = threading.Lock()

    def prepare(self, orders: Iterable[Order]) -> None:
        """Register the environments of jobs, each once per run.

        Raises
        ------
        WorkflowError
            If there is no such workspace, environment file or mount.
        """
        for order in orders:
            parse_mounts(order.wishes.folders, self.records.workflow)
            text = order.wishes.environment
            if text not in self._environments:
                spec = parse_environment(text, _read)
                reference = spec if isinstance(spec, str) else self.client.ensure_environment(spec)
                self._environments[text] = reference

    def submit(self, order: Order) -> Submission:
        """Submit a job, or pick it up where an earlier run has left it.

        Raises
        ------
        WorkflowError
            If it cannot be submitted.
        """
        require_going_on(self.ending)
        package = pack_job(
            order.job,
            command=self._command(order),
            sources=self.sources,
            digests=self.digests,
            environment=order.environment,
            mounts=parse_mounts(order.wishes.folders, self.records.workflow),
        )
        fingerprint = self._fingerprint(package, order)
        record, info = self._look_up(fingerprint, order)
        was_there = info is not None
        with self._lock:
            self._open[record.name] = record
        try:
            info = info or self._send(record, package, order)
        except Exception:
            self._forget(record)
            raise
        return Submission(
            order=order,
            record=record,
            manifest=package.manifest,
            info=info,
            was_there=was_there,
        )

    def statuses(self, submissions: Iterable[Submission]) -> dict[str, JobInfo]:
        """Ask how jobs are doing; those that the workspace does not know are left out.

        Raises
        ------
        Unavailable
            If the service does not answer for long.
        """
        batches: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for submission in submissions:
            record = submission.record
            batches[record.batch, record.experiment].append(record.name)
        found: dict[str, JobInfo] = {}
        for (batch, experiment), names in batches.items():
            listed: dict[str, JobInfo] = {}
            if len(names) > A_HANDFUL:
                tags = {batch: self.records.workflow}
                listed = {
                    info.name: info for info in self.client.list(tags=tags, experiment=experiment)
                }
            # The list may lag behind; the rest has its turn in the next round.
            asked = [name for name in names if name not in listed][:A_HANDFUL]
            found |= {name: listed[name] for name in names if name in listed}
            found |= {info.name: info for info in self._ask(asked)}
        return found

    def collect(self, submission: Submission, info: JobInfo) -> Outcome | None:
        """Bring back the files of a job that has ended; None if its result is still on its way.

        Raises
        ------
        WorkflowError
            If the outputs of a job that succeeded cannot be brought back.
        """
        outcome = self._collector.collect(info, submission.manifest)
        if outcome is not None:
            self.close(submission, "Completed" if outcome.succeeded else "Failed")
        return outcome

    def close(self, submission: Submission, outcome: str) -> None:
        """Note that a job has been dealt with."""
        self.records.close(submission.record, outcome)
        self._forget(submission.record)

    def open_jobs(self) -> list[Record]:
        """Jobs that are in the workspace, or on the way there, and have not been dealt with."""
        with self._lock:
            return list(self._open.values())

    def cancel(self, record: Record) -> bool:
        """Cancel a job; return whether it is certain that it will end."""
        for pause_s in (*_PAUSES_BEFORE_CANCELLING_AGAIN_S, None):
            try:
                self.client.cancel(record.name)
            except JobNotFound:
                pass
            except Unavailable:
                if pause_s is None:
                    return False
                time.sleep(pause_s)
                continue
            except WorkflowError:
                return False
            break
        # The record stays open: the next run sees whether the job had been faster.
        self._forget(record)
        return True

    def _command(self, order: Order) -> str:
        """The command, after links to the data that is mounted."""
        links = []
        for number, path in enumerate(order.wishes.data):
            place, folder = shlex.quote(path), shlex.quote(str(Path(path).parent))
            variable = mount_variable(f"data{number}")
            links.append(f'mkdir -p {folder} && ln -sfn "${variable}" {place}')
        return " && ".join([*links, order.command])

    def _fingerprint(self, package: Package, order: Order) -> str:
        """Digest of all that the job depends on, the same in every run of the workflow."""
        # The jobs of a group come in any order, and so do the arguments that name them.
        words = sorted(_INESSENTIAL.sub("", package.manifest.command).split())
        manifest = dataclasses.replace(package.manifest, command=" ".join(words))
        software = [order.wishes.environment, self._environments[order.wishes.environment]]
        parts = [manifest.fingerprint, software, sorted(order.wishes.data.items())]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _look_up(self, fingerprint: str, order: Order) -> tuple[Record, JobInfo | None]:
        """The job that does this work already, or the record of one that is to be submitted."""
        records = self.records.of(fingerprint)
        last = records[-1] if records else None
        if last is not None and not last.outcome:
            info = self._get(last.name)
            if info is None:
                return dataclasses.replace(last, batch=self._batch()), None
            if info.status not in _LOST:
                return last, info
            self.records.close(last, info.status)
            self.logger.info("%s is %s: submitting anew.", info.name, info.status.lower())
        submission = last.submission + 1 if last is not None else 1
        name = job_name(order.identity, self.records.digest(fingerprint), submission)
        record = Record(
            name=name,
            fingerprint=fingerprint,
            submission=submission,
            batch=self._batch(),
            experiment=self.experiment,
        )
        if last is None and order.known_as:
            return self._look_up_marker(record, order.known_as)
        return record, None

    def _look_up_marker(self, record: Record, known_as: str) -> tuple[Record, JobInfo | None]:
        """The job in Snakemake's own marker, which is left when the records are deleted."""
        info = self._get(known_as)
        if info is None or info.tags.get("fingerprint") != record.fingerprint[:32]:
            return record, None
        if info.status in _LOST:
            return record, None
        batch = next((tag for tag in info.tags if tag.startswith("snakemake-")), record.batch)
        known = dataclasses.replace(record, name=known_as, batch=batch, experiment=info.experiment)
        self.records.save(known)
        return known, info

    def _send(self, record: Record, package: Package, order: Order) -> JobInfo:
        transfer = insist(
            f"send the files of {record.name}",
            lambda: stage(self.store, record.name, package),
            self.ending,
        )
        self.logger.debug(
            "%s: sent %d files, %d bytes", record.name, transfer.files, transfer.bytes
        )
        self.records.save(record)
        require_going_on(self.ending)
        return self.client.submit(self._spec(record, package, order))

    def _spec(self, record: Record, package: Package, order: Order) -> JobSpec:
        wishes = order.wishes
        tags = order.identity.tags(
            **self.tags,
            **{record.batch: self.records.workflow},
            workflow=self.records.workflow,
            fingerprint=record.fingerprint[:32],
        )
        return JobSpec(
            name=record.name,
            display_name=order.identity.title,
            experiment=record.experiment,
            command=package.command(f"${mount_variable(STORE)}", record.name),
            environment=self._environments[wishes.environment],
            compute=wishes.compute,
            mounts={STORE: f"azureml://datastores/{self.datastore}/paths/{self.prefix}/"},
            inputs={f"data{number}": uri for number, uri in enumerate(wishes.data.values())},
            tags=tags,
            shm_size=wishes.shm_size,
            nodes=wishes.nodes,
            # On several nodes, PyTorch's launcher starts the command once on each.
            processes_per_node=1 if wishes.nodes > 1 else 0,
            timeout_s=wishes.timeout_s,
            tier=wishes.tier,
            identity_client_id=self.identity_client_id,
        )

    def _batch(self) -> str:
        with self._lock:
            number = self._submitted // BATCH
            self._submitted += 1
        return f"snakemake-{self.run}-{number}"

    def _get(self, name: str) -> JobInfo | None:
        try:
            return self.client.get(name)
        except JobNotFound:
            return None

    def _ask(self, names: Iterable[str]) -> Iterator[JobInfo]:
        return (info for name in names if (info := self._get(name)) is not None)

    def _forget(self, record: Record) -> None:
        with self._lock:
            self._open.pop(record.name, None)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise WorkflowError(
            f"The environment file {path} cannot be read ({error.strerror}). Set "
            "azureml-environment, or the resource azureml_environment of the rule, to one that is "
            "there."
        ) from error
