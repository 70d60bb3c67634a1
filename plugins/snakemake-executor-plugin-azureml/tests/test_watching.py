from __future__ import annotations

import logging

import pytest
from snakemake_executor_plugin_azureml.jobs import JobInfo
from snakemake_executor_plugin_azureml.watching import Sayer, Watch


def notices(*steps: tuple[float, str], patience_s: float = 60) -> list[str]:
    """What is said when a job is asked for at these times and has these states."""
    watch = Watch(patience_s=patience_s, waiting_since=0)
    infos = [
        (now, JobInfo(name="fit-1", status=status, experiment="main", tags={}, url="https://x"))
        for now, status in steps
    ]
    return [watch.notice(info, now) for now, info in infos]


def test_waiting_is_said_once_per_patience_with_the_link() -> None:
    said = notices(
        (0, "Queued"), (59, "Preparing"), (61, "Queued"), (62, "Queued"), (121, "Queued")
    )
    assert [bool(text) for text in said] == [False, False, True, False, True]
    assert said[2].startswith("fit-1 has been waiting for a node for 1 min")
    assert said[2].endswith("https://x")


def test_running_for_long_is_no_news() -> None:
    assert not any(notices((0, "Queued"), (10, "Running"), (10_000, "Running")))


def test_a_preemption_is_said_and_patience_begins_anew() -> None:
    said = notices(
        (0, "Queued"), (50, "Running"), (100, "Queued"), (110, "Queued"), (161, "Queued")
    )
    assert said[2].startswith("fit-1 has lost its node")
    assert [bool(text) for text in said[3:]] == [False, True]


def test_an_unresponsive_node_is_no_preemption() -> None:
    assert not any(notices((0, "Running"), (5, "NotResponding"), (9, "Running")))


def test_messages_are_complete_for_a_handler_that_prints_them_raw(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        Sayer(logging.getLogger("raw")).info("%d of %s", 2, "100 %")
        Sayer(logging.getLogger("raw")).info("100 %")
    assert [record.msg for record in caplog.records] == ["2 of 100 %", "100 %"]
