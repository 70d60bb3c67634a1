"""Patience: what fails for a moment is tried again, and nothing is submitted twice."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from snakemake_executor_plugin_azureml.client.errors import JobNotFound, Unavailable
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobInfo, JobSpec
from snakemake_executor_plugin_azureml.models import ModelInfo

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

    from snakemake_executor_plugin_azureml.client import Client

Result = TypeVar("Result")

_default_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How to wait for a service that does not answer.

    Attributes
    ----------
    total_s
        For how long a request is tried again before `Unavailable` is raised.
    first_s, longest_s
        The first pause, doubled after each failure up to the longest.
    seed
        Of the random part of each pause, which keeps many clients from coming back at once.
    sleep
        Waits for so many seconds. If it returns True (as `threading.Event.wait` does once the event
        is set), waiting is over and the request fails now.
    logger
        Where an outage and its end are said, once each.
    """

    total_s: float = 900.0
    first_s: float = 1.0
    longest_s: float = 60.0
    seed: int | None = None
    sleep: Callable[[float], bool | None] = time.sleep
    logger: logging.Logger = field(default=_default_logger, repr=False)


class RetryingClient:
    """A client that waits for the service instead of failing; see `Client` for its methods.

    Parameters
    ----------
    backend
        Does the work.
    patience
        How to wait.
    """

    def __init__(self, backend: Client, patience: Patience | None = None) -> None:
        self._backend = backend
        self._patience = patience or Patience()
        self._random = random.Random(self._patience.seed)
        self._lock = threading.Lock()
        self._outage_since: float | None = None

    def submit(self, spec: JobSpec) -> JobInfo:
        """Submit a job once, however often it has to be tried."""
        perhaps_submitted = False

        def attempt() -> JobInfo:
            nonlocal perhaps_submitted
            if perhaps_submitted:
                try:
                    submitted = self._backend.get(spec.name)
                except JobNotFound:
                    perhaps_submitted = False
                else:
                    # Without its tags, the submission was cut short half-way.
                    if spec.tags.items() <= submitted.tags.items():
                        return submitted
            try:
                return self._backend.submit(spec)
            except Unavailable as failure:
                perhaps_submitted = failure.unclear
                raise

        return self._patiently(f"submit {spec.name}", attempt)

    def get(self, name: str) -> JobInfo:
        """The job `name`."""
        return self._patiently(f"look up {name}", lambda: self._backend.get(name))

    def list(self, *, tags: Mapping[str, str], experiment: str = "") -> Iterator[JobInfo]:
        """The jobs that have all of `tags`: all of them, or an error."""

        def attempt() -> tuple[JobInfo, ...]:
            # Read to the end here, so that a failure between two pages does not cut the list short.
            return tuple(self._backend.list(tags=tags, experiment=experiment))

        return iter(self._patiently("list jobs", attempt))

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        self._patiently(f"cancel {name}", lambda: self._backend.cancel(name))

    def log_tail(self, name: str, lines: int = 40) -> Sequence[str]:
        """The last lines that a job has printed."""
        return self._patiently("read a log", lambda: self._backend.log_tail(name, lines))

    def download(self, name: str, destination: Path, *, prefix: str = "") -> None:
        """Bring files of a job up to date in `destination`."""
        self._patiently(
            f"download from {name}",
            lambda: self._backend.download(name, destination, prefix=prefix),
        )

    def ensure_environment(self, spec: EnvironmentSpec) -> str:
        """Register an environment unless it is there already."""
        return self._patiently(
            f"register environment {spec.name}", lambda: self._backend.ensure_environment(spec)
        )

    def container(self, datastore: str) -> ContainerClient:
        """The blob container behind a datastore."""
        return self._patiently(
            f"open datastore {datastore}", lambda: self._backend.container(datastore)
        )

    def register_model(
        self, name: str, path: Path, *, tags: Mapping[str, str], description: str = ""
    ) -> str:
        """Register a model; an answer that is lost may leave a version too many."""
        return self._patiently(
            f"register model {name}",
            lambda: self._backend.register_model(name, path, tags=tags, description=description),
        )

    def list_models(self, name: str = "") -> Iterator[ModelInfo]:
        """The versions of a model: all of them, or an error."""
        return iter(self._patiently("list models", lambda: tuple(self._backend.list_models(name))))

    def tag_model(self, name_version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version of a model, or change them."""
        self._patiently(
            f"tag model {name_version}", lambda: self._backend.tag_model(name_version, tags)
        )

    def download_model(self, name_version: str, destination: Path) -> Path:
        """Download a model."""
        return self._patiently(
            f"download model {name_version}",
            lambda: self._backend.download_model(name_version, destination),
        )

    def _patiently(self, action: str, attempt: Callable[[], Result]) -> Result:
        """Try until it works, it is refused, or patience has run out."""
        started = time.monotonic()
        waited_s, pause_s = 0.0, self._patience.first_s
        while True:
            try:
                result = attempt()
            except Unavailable as failure:
                wait_s = max(pause_s * self._random.uniform(0.5, 1.0), failure.retry_after_s)
                waited_s = max(waited_s, time.monotonic() - started)
                if waited_s + wait_s > self._patience.total_s:
                    raise self._gave_up(action, failure, waited_s) from None
                self._say_outage(action, failure)
                if self._patience.sleep(wait_s):
                    raise self._gave_up(action, failure, waited_s) from None
                waited_s += wait_s
                pause_s = min(2 * pause_s, self._patience.longest_s)
            else:
                self._say_recovery()
                return result

    def _gave_up(self, action: str, failure: Unavailable, waited_s: float) -> Unavailable:
        return Unavailable(
            f"Azure Machine Learning could not {action}, tried for {waited_s:.0f} s: {failure}. "
            "Jobs that are running keep running; the next run picks them up.",
            retry_after_s=failure.retry_after_s,
            unclear=failure.unclear,
        )

    def _say_outage(self, action: str, failure: Unavailable) -> None:
        with self._lock:
            if self._outage_since is not None:
                return
            self._outage_since = time.monotonic()
        self._patience.logger.warning(
            "Azure Machine Learning did not %s (%s). Trying again for up to %.0f min.",
            action,
            failure,
            self._patience.total_s / 60,
        )

    def _say_recovery(self) -> None:
        with self._lock:
            since, self._outage_since = self._outage_since, None
        if since is not None:
            outage_s = time.monotonic() - since
            self._patience.logger.info(
                "Azure Machine Learning answers again after %.0f s.", outage_s
            )
