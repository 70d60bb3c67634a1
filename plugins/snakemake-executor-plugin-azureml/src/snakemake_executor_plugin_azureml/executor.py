"""Snakemake's side: takes its jobs, tells it what has become of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psutil
from snakemake_interface_common.exceptions import ApiError, WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_azureml.client import Unavailable, connect
from snakemake_executor_plugin_azureml.client.errors import describe
from snakemake_executor_plugin_azureml.client.retrying import Patience
from snakemake_executor_plugin_azureml.credentials import find_credential
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.jobs import TERMINAL, JobInfo
from snakemake_executor_plugin_azureml.ordering import (
    Order,
    make_order,
    name_experiment,
    revision,
)
from snakemake_executor_plugin_azureml.reaching import Background, EndedError, require_going_on
from snakemake_executor_plugin_azureml.records import FOLDER
from snakemake_executor_plugin_azureml.settings import ExecutorSettings
from snakemake_executor_plugin_azureml.watching import Sayer, Watch
from snakemake_executor_plugin_azureml.workspace import find_workspace

if TYPE_CHECKING:
    import logging

    from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

    from snakemake_executor_plugin_azureml.client import Sdk
    from snakemake_executor_plugin_azureml.collecting import Outcome
    from snakemake_executor_plugin_azureml.credentials import Login
    from snakemake_executor_plugin_azureml.dispatch import Dispatcher, Submission

Answer = TypeVar("Answer")

AT_ONCE = 16
"""Jobs that are packed, submitted or brought back side by side."""

_TICK_S = 0.1
_SHORTEST_INTERVAL_S = 0.5
# Between the end of a job and its last files being seen from outside.
_ARRIVAL_PATIENCE_S = 120.0
# How long an interrupted run waits for submissions that are under way.
_INTERRUPT_PATIENCE_S = 8.0
_TERMINATION_PATIENCE_S = 20.0


@dataclass(kw_only=True)
class Flight:
    """A job between its submission and its report to Snakemake."""

    submission: Submission
    reported: SubmittedJobInfo
    watch: Watch
    collection: Future[Outcome | None] | None = None
    ended_at: float | None = None
    """When it was first seen to have ended, or not to be there."""
    is_missing: bool = False


class Executor(RemoteExecutor):
    """Runs jobs of Snakemake on Azure Machine Learning.

    Snakemake's main thread only packs the sources and queues orders. The thread that polls does all
    the rest, so that nothing is reported from two threads, and leaves what takes time to others.
    """

    # The base class starts the thread that polls before it calls `__post_init__`.
    _dispatcher: Dispatcher | None = None

    def __post_init__(self) -> None:
        """Check what needs no network, before any job runs."""
        self._settings: ExecutorSettings = self.executor_settings or ExecutorSettings()
        with _without_traceback():
            self._workspace = find_workspace(
                subscription_id=self._settings.subscription_id,
                resource_group=self._settings.resource_group,
                workspace_name=self._settings.workspace_name,
            )
        self._say = Sayer(self.logger)
        self._ending = threading.Event()
        self._awake = threading.Event()
        self._background = Background(AT_ONCE, self._awake.set)
        # A thread of its own: long uploads must not keep jobs from being asked for.
        self._asking = Background(1, self._awake.set)
        self._orders: deque[Order] = deque()
        self._submitting: dict[Future[Submission], Order] = {}
        self._flights: dict[str, Flight] = {}
        self._next_poll = 0.0
        self._is_failing = False
        self._former_handler: Any = None

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Queue jobs.

        Raises
        ------
        ApiError
            If settings or resources are wrong; none of these jobs has been submitted then.
        """
        self._handle_termination()
        with _without_traceback():
            dispatcher = self._dispatcher or self._connect()
            orders = [self._order(job) for job in jobs]
            dispatcher.prepare(orders)
        for job in jobs:
            self.run_job_pre(job)
        self._orders.extend(orders)
        self._dispatcher = dispatcher
        self._awake.set()

    def run_job(self, job: JobExecutorInterface) -> None:
        """Queue one job."""
        self.run_jobs([job])

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Submit what is queued, ask for what is submitted, report what has ended."""
        if self._dispatcher is not None:
            self._submit_queued(self._dispatcher)
            self._report_submissions()
            await self._poll(self._dispatcher)
            self._report_collections()
        for active in active_jobs:
            if active.external_jobid in self._flights:
                yield active

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:  # noqa: ARG002
        """End the run: cancel its jobs, or leave them to the next run.

        `active_jobs` is empty whenever Snakemake happens to be polling: the dispatcher knows them.
        """
        self._ending.set()
        if self._dispatcher is None:
            return
        self._orders.clear()
        wait(list(self._submitting), timeout=_INTERRUPT_PATIENCE_S)
        records = self._dispatcher.open_jobs()
        if not records:
            return
        names = ", ".join(record.name for record in records)
        if not self._settings.cancel_on_interrupt:
            self._say.info(
                "%d jobs keep running on Azure Machine Learning: %s. "
                "Run the same command again to pick them up.",
                len(records),
                names,
            )
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ends = list(pool.map(self._dispatcher.cancel, records))
        self._say.info("Cancelled %d of %d jobs.", sum(ends), len(ends))
        left = [record.name for record, end in zip(records, ends, strict=True) if not end]
        if left:
            self._say.error(
                "Could not cancel %s. Cancel them in the portal, or run the same command again to "
                "pick them up.",
                ", ".join(left),
            )

    def shutdown(self) -> None:
        """Stop polling and transfers at once."""
        self._ending.set()
        super().shutdown()
        if self._former_handler is not None:
            signal.signal(signal.SIGTERM, self._former_handler)
            self._former_handler = None

    async def sleep(self) -> None:
        """Sleep until there is something to do, in steps short enough to be ended."""
        if self._dispatcher is None:  # `__post_init__` may not have been called yet
            await asyncio.sleep(_TICK_S)
            return
        wake_at = time.monotonic() + self._interval_s
        while self.wait and not self._awake.is_set() and time.monotonic() < wake_at:
            await asyncio.sleep(_TICK_S)
        self._awake.clear()

    @property
    def _interval_s(self) -> float:
        return max(float(self.next_seconds_between_status_checks), _SHORTEST_INTERVAL_S)

    def _connect(self) -> Dispatcher:
        # Snakemake imports every plugin that is installed, whatever it is asked to do: what takes
        # time to import waits for the first job.
        from snakemake_executor_plugin_azureml.dispatch import Dispatcher
        from snakemake_executor_plugin_azureml.packing import pack_sources

        digests = DigestCache(FOLDER / "digests.json")
        patience = Patience(sleep=self._ending.wait, logger=cast("logging.Logger", self._say))
        client = connect(
            cast("Sdk", self._settings.sdk),
            self._workspace,
            credential=find_credential(cast("Login", self._settings.login)),
            patience=patience,
        )
        commit = revision()
        return Dispatcher(
            client=client,
            datastore=self._settings.datastore,
            prefix=self._settings.prefix.strip("/"),
            experiment=self._settings.experiment or name_experiment(),
            sources=pack_sources(self.dag.get_sources(), FOLDER / "sources.tar", digests),
            digests=digests,
            logger=self._say,
            ending=self._ending,
            tags={"git_commit": commit} if commit else {},
            identity_client_id=self._settings.identity_client_id,
        )

    def _order(self, job: JobExecutorInterface) -> Order:
        try:
            known_as = self.dag.incomplete_external_jobid(job)
        except WorkflowError:  # its outputs were begun by different jobs: the records decide
            known_as = None
        return make_order(
            job,
            command=self.format_job_exec(job),
            environment=self.envvars(),
            settings=self._settings,
            known_as=known_as or "",
        )

    def _submit_queued(self, dispatcher: Dispatcher) -> None:
        limit = self._settings.max_concurrent
        while self._orders and not self._ending.is_set():
            if limit and len(self._flights) + len(self._submitting) >= limit:
                return
            order = self._orders.popleft()
            self._submitting[self._background.begin(dispatcher.submit, order)] = order

    def _report_submissions(self) -> None:
        for future in [future for future in self._submitting if future.done()]:
            order = self._submitting.pop(future)
            error = future.exception()
            if error is None:
                self._report_submission(future.result())
            elif not isinstance(error, EndedError):
                message = f"Could not submit {order.identity.title}: {describe(error)}"
                self._report_error(SubmittedJobInfo(order.job), message)

    def _report_submission(self, submission: Submission) -> None:
        info = submission.info
        verb = "Picked up" if submission.was_there else "Submitted"
        self._say.info("%s %s (%s): %s", verb, info.name, info.status, info.url)
        reported = SubmittedJobInfo(submission.order.job, external_jobid=info.name)
        patience_s = 60 * self._settings.queue_patience_min
        watch = Watch(patience_s=patience_s, waiting_since=time.monotonic())
        self._flights[info.name] = Flight(submission=submission, reported=reported, watch=watch)
        self.report_job_submission(reported)

    async def _poll(self, dispatcher: Dispatcher) -> None:
        """Ask how the jobs are doing. Whatever goes wrong here, they are asked again."""
        flights = {name: f for name, f in self._flights.items() if f.collection is None}
        if not flights or time.monotonic() < self._next_poll or self._ending.is_set():
            return
        try:
            submissions = [flight.submission for flight in flights.values()]
            async with self.status_rate_limiter:
                infos = await self._result(self._asking.begin(dispatcher.statuses, submissions))
        except Exception as error:  # an exception that escapes ends the run
            if not self._is_failing and not self._ending.is_set():
                self._say.warning("Could not ask for the jobs, will go on: %s", describe(error))
            self._is_failing = True
        else:
            self._is_failing = False
            for name, flight in flights.items():
                self._take_note(dispatcher, flight, infos.get(name))
        self._next_poll = time.monotonic() + self._interval_s

    async def _result(self, future: Future[Answer]) -> Answer:
        """What a future gives, unless the run ends before."""
        while not future.done():
            require_going_on(self._ending)
            await asyncio.sleep(_TICK_S / 4)
        return future.result()

    def _take_note(self, dispatcher: Dispatcher, flight: Flight, info: JobInfo | None) -> None:
        now = time.monotonic()
        flight.is_missing = info is None
        if info is not None and info.status not in TERMINAL:
            flight.ended_at = None
            if message := flight.watch.notice(info, now):
                self._say.warning(message)
            return
        flight.ended_at = flight.ended_at or now
        if info is not None:
            flight.collection = self._background.begin(dispatcher.collect, flight.submission, info)

    def _report_collections(self) -> None:
        for name, flight in list(self._flights.items()):
            waited_s = time.monotonic() - flight.ended_at if flight.ended_at else 0.0
            if flight.collection is not None and flight.collection.done():
                self._report_collection(name, flight, waited_s)
            # A list of jobs may lag behind; a job that was deleted stays away.
            elif flight.is_missing and waited_s > _ARRIVAL_PATIENCE_S:
                self._end(name, f"Azure Machine Learning job {name} does not exist any more.")

    def _report_collection(self, name: str, flight: Flight, waited_s: float) -> None:
        collection, flight.collection = flight.collection, None
        assert collection is not None
        error = collection.exception()
        if isinstance(error, Unavailable):
            self._say.warning("Could not bring back %s, going on: %s", name, describe(error))
        elif error is not None:
            if not isinstance(error, EndedError):
                self._end(name, f"Could not bring back {name}: {describe(error)}")
        elif (outcome := collection.result()) is None:
            if waited_s > _ARRIVAL_PATIENCE_S:
                url = flight.submission.info.url
                self._end(name, f"{name} is complete, but has left no result. Portal: {url}")
        elif outcome.succeeded:
            del self._flights[name]
            self.report_job_success(flight.reported)
        else:
            del self._flights[name]
            self._report_error(flight.reported, outcome.message, outcome.log)

    def _end(self, name: str, message: str) -> None:
        flight = self._flights.pop(name)
        if self._dispatcher is not None:
            self._dispatcher.close(flight.submission, "Lost")
        self._report_error(flight.reported, message)

    def _report_error(self, reported: SubmittedJobInfo, message: str, log: str = "") -> None:
        if reported.job.is_group():  # whose message Snakemake does not print
            self._say.error(message)
        self.report_job_error(reported, msg=f"{message}\n", aux_logs=[log] if log else [])

    def _handle_termination(self) -> None:
        """Let SIGTERM do what Ctrl-C does.

        Snakemake's own handler waits for running jobs, which takes hours here. It is installed
        after the executor is made, which is why this is done with the first jobs.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if self._former_handler is None and is_main:
            self._former_handler = signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, *_: object) -> None:
        # A second signal must not find a run that is deaf.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._say.info("Received SIGTERM: ending now.")
        # Python waits for most threads when it exits: here, for transfers of large files.
        last_resort = threading.Timer(_TERMINATION_PATIENCE_S, os._exit, [128 + signal.SIGTERM])
        last_resort.daemon = True
        last_resort.start()
        # Local jobs: a terminal sends Ctrl-C to them too, but nobody sends them SIGTERM.
        _terminate_all(psutil.Process().children(recursive=True))
        raise KeyboardInterrupt


@contextmanager
def _without_traceback() -> Iterator[None]:
    """Let Snakemake print what a user has set wrongly without the lines of our code."""
    try:
        yield
    except WorkflowError as error:
        raise ApiError(str(error)) from None


def _terminate_all(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
