"""Faults on demand: of requests (throttling, errors, lost connections) and of jobs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from http import HTTPStatus
from typing import Any

from azureml_emulator.routing import ApiError

REQUEST_FAULTS = ("throttle", "error", "drop", "delay")
JOB_FAULTS = ("fail_at_start", "preempt", "stuck")
FOREVER = 10**9


@dataclass
class Fault:
    """One fault, used up after `count` requests or jobs.

    Faults of requests meet those whose method and path fit: `throttle` answers 429 with
    `Retry-After: retry_after_s`, `error` answers `status`, `drop` closes the connection (with
    `after=True` only after the request took effect: its sender cannot know), `delay` answers
    `seconds` later. `path` and `job` are regular expressions to be found in the path or name;
    `service` is "api", "blob" or both; the first `skip` requests that fit are left alone.

    Faults of jobs: `fail_at_start` ends it before its command runs, `stuck` leaves it in the queue,
    `preempt` kills it `seconds` after its start, or as soon as `log` is found in its log, or
    `mount` in the path (within its mount) of a file that has reached the storage with content.
    """

    kind: str
    path: str = ""
    method: str = ""
    service: str = ""
    job: str = ""
    count: int = 1
    skip: int = 0
    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_s: float = 1
    seconds: float = 0
    after: bool = False
    log: str = ""
    mount: str = ""
    used: int = field(default=0, init=False)

    @property
    def answer(self) -> int:
        """Status of the answer that a request gets; 0 for none."""
        return {"throttle": HTTPStatus.TOO_MANY_REQUESTS, "drop": 0}.get(self.kind, self.status)

    @classmethod
    def parse(cls, values: Any) -> Fault:
        """A fault from its JSON form.

        Raises
        ------
        ApiError
            An unknown kind or key, or a broken regular expression (status 400).
        """
        names = {item.name for item in fields(cls) if item.init}
        unknown = set(values) - names if isinstance(values, dict) else {"not an object"}
        if unknown or values.get("kind") not in REQUEST_FAULTS + JOB_FAULTS:
            raise ApiError(
                HTTPStatus.BAD_REQUEST,
                f"Not a fault: {values!r}. Kinds: {', '.join(REQUEST_FAULTS + JOB_FAULTS)}; "
                f"keys: {', '.join(sorted(names))}",
            )
        fault = cls(**values)
        try:
            for pattern in (fault.path, fault.job, fault.log, fault.mount):
                re.compile(pattern)
        except re.error as error:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"{pattern!r}: {error}") from None
        return fault


class Faults:
    """The faults that are to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let a fault happen."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let nothing happen any more; jobs that are stuck leave the queue."""
        with self._lock:
            self._faults.clear()

    def take_request(self, service: str, method: str, path: str) -> Fault | None:
        """The fault that meets this request, if any, one use of which is now spent."""
        with self._lock:
            for fault in self._left(REQUEST_FAULTS):
                fits_method = fault.method in ("", method) and fault.service in ("", service)
                if not (fits_method and re.search(fault.path, path)):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.used += 1
                return fault
        return None

    def take_job(self, kind: str, name: str) -> Fault | None:
        """The fault of a kind that meets this job, if any, one use of which is now spent."""
        with self._lock:
            for fault in self._left((kind,)):
                if re.search(fault.job, name):
                    fault.used += 1
                    return fault
        return None

    def holds(self, name: str) -> bool:
        """Whether a fault keeps this job in the queue."""
        with self._lock:
            return any(re.search(fault.job, name) for fault in self._left(("stuck",)))

    def preemptions(self, name: str) -> list[Fault]:
        """The preemptions that may yet meet this job; `spend` the one that does."""
        with self._lock:
            return [fault for fault in self._left(("preempt",)) if re.search(fault.job, name)]

    def spend(self, fault: Fault) -> bool:
        """Use a fault once; False if another job was quicker to use it up."""
        with self._lock:
            is_left = fault in self._faults and fault.used < fault.count
            fault.used += is_left
            return is_left

    def as_json(self) -> list[dict[str, Any]]:
        """The faults, and how often each was used."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]

    def _left(self, kinds: tuple[str, ...]) -> Iterator[Fault]:
        return (f for f in self._faults if f.kind in kinds and f.used < f.count)
