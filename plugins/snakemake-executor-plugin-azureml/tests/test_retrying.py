"""Patience, against a backend that fails as it is told."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
from snakemake_executor_plugin_azureml.client import Client, JobNotFound, Unavailable
from snakemake_executor_plugin_azureml.client.retrying import Patience, RetryingClient
from snakemake_executor_plugin_azureml.jobs import JobInfo, JobSpec

SPEC = JobSpec(
    name="train-1", experiment="main", command="true", environment="gpu:1", tags={"rule": "train"}
)
OUTAGE = Unavailable("HTTP 503")
THROTTLED = Unavailable("HTTP 429", retry_after_s=7, unclear=False)


class Service:
    """A backend that knows the jobs submitted to it and raises the failures that are due."""

    def __init__(
        self, *failures: Unavailable | None, arrives: bool = True, tags: bool = True
    ) -> None:
        self.failures = list(failures)
        self.calls: list[str] = []
        self.jobs: dict[str, JobInfo] = {}
        self._arrives = arrives
        self._tags = tags

    def _answer(self, call: str) -> None:
        self.calls.append(call)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure

    def submit(self, spec: JobSpec) -> JobInfo:
        if self._arrives or not self.failures:
            tags = spec.tags if self._tags or not self.failures else {}
            self.jobs[spec.name] = self._job(spec.name, tags)
        self._answer("submit")
        return self.jobs[spec.name]

    def get(self, name: str) -> JobInfo:
        self._answer("get")
        if name not in self.jobs:
            raise JobNotFound(name)
        return self.jobs[name]

    def list(self, *, tags: Mapping[str, str], experiment: str = "") -> Iterator[JobInfo]:
        self._answer("list")
        yield self._job("train-1", tags)
        self._answer("next page")
        yield self._job("train-2", tags)

    def _job(self, name: str, tags: Mapping[str, str]) -> JobInfo:
        return JobInfo(name=name, status="Queued", experiment="main", tags=tags)


def patient(service: Service, pauses: list[float] | None = None, **settings: Any) -> RetryingClient:
    """A client of `service` that notes its pauses instead of waiting."""
    noted = [] if pauses is None else pauses
    sleep = settings.pop("sleep", noted.append)
    return RetryingClient(
        cast("Client", service), Patience(**{"seed": 0, "sleep": sleep, **settings})
    )


def test_pauses_double_up_to_the_longest_and_differ() -> None:
    pauses: list[float] = []
    service = Service(*[OUTAGE] * 9)
    service.jobs["train-1"] = service._job("train-1", {})
    patient(service, pauses, first_s=1, longest_s=16).get("train-1")
    ceilings = [1, 2, 4, 8, 16, 16, 16, 16, 16]
    assert all(c / 2 <= pause <= c for pause, c in zip(pauses, ceilings, strict=True))
    assert len({pause / c for pause, c in zip(pauses, ceilings, strict=True)}) == 9


def test_pauses_are_the_same_for_a_seed() -> None:
    first: list[float] = []
    second: list[float] = []
    for pauses in (first, second):
        list(patient(Service(*[OUTAGE] * 3), pauses, seed=7).list(tags={}))
    assert first == second


def test_retry_after_is_honoured() -> None:
    pauses: list[float] = []
    patient(Service(THROTTLED), pauses).submit(SPEC)
    assert pauses == [7]


def test_patience_ends() -> None:
    pauses: list[float] = []
    service = Service(*[OUTAGE] * 1000)
    with pytest.raises(Unavailable, match=r"could not look up train-1.*HTTP 503"):
        patient(service, pauses, total_s=100).get("train-1")
    assert sum(pauses) <= 100
    assert len(pauses) > 5


def test_a_wait_that_is_longer_than_patience_is_not_begun() -> None:
    pauses: list[float] = []
    with pytest.raises(Unavailable) as caught:
        patient(Service(THROTTLED), pauses, total_s=5).submit(SPEC)
    assert pauses == []
    assert caught.value.retry_after_s == 7


def test_an_event_ends_waiting() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Unavailable):
        patient(Service(OUTAGE), sleep=stop.wait).get("train-1")


def test_a_submission_whose_answer_is_lost_is_not_repeated() -> None:
    service = Service(OUTAGE)
    assert patient(service).submit(SPEC).name == "train-1"
    assert service.calls == ["submit", "get"]


def test_a_submission_that_did_not_arrive_is_repeated() -> None:
    service = Service(OUTAGE, arrives=False)
    patient(service).submit(SPEC)
    assert service.calls == ["submit", "get", "submit"]


def test_a_submission_that_was_cut_short_before_its_tags_is_completed() -> None:
    service = Service(OUTAGE, tags=False)
    assert patient(service).submit(SPEC).tags == {"rule": "train"}
    assert service.calls == ["submit", "get", "submit"]


def test_a_submission_that_was_throttled_is_repeated_without_asking() -> None:
    service = Service(THROTTLED, arrives=False)
    patient(service).submit(SPEC)
    assert service.calls == ["submit", "submit"]


def test_an_outage_while_asking_is_waited_for_too() -> None:
    service = Service(OUTAGE, OUTAGE, OUTAGE, arrives=False)
    patient(service).submit(SPEC)
    assert service.calls == ["submit", "get", "get", "get", "submit"]


def test_a_list_is_whole_or_begun_again() -> None:
    service = Service(None, OUTAGE)
    names = [info.name for info in patient(service).list(tags={"rule": "train"})]
    assert names == ["train-1", "train-2"]
    assert service.calls == ["list", "next page", "list", "next page"]


def test_an_outage_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(*[OUTAGE] * 4)
    client = patient(service)
    with caplog.at_level(logging.INFO):
        list(client.list(tags={}))
        list(client.list(tags={}))
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"]
    assert "HTTP 503" in caplog.records[0].message


def test_what_does_not_exist_is_not_waited_for() -> None:
    pauses: list[float] = []
    with pytest.raises(JobNotFound):
        patient(Service(), pauses).get("train-9")
    assert pauses == []
