"""The check of a real workspace, on the emulator of one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.workflow.checkout import REPOSITORY

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

pytestmark = pytest.mark.slow

QUICK = ("--watch-s", "5", "--time-limit-s", "2", "--poll-s", "0.2")


def smoke(azureml: Emulator, *options: str) -> tuple[int, dict[str, tuple[str, str]], str]:
    """Exit code, verdict and what was seen of each point, and everything that was printed."""
    done = subprocess.run(
        [sys.executable, "azureml/smoke.py", *QUICK, *options],
        cwd=REPOSITORY,
        env=azureml.process_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    points = {}
    for line in done.stdout.splitlines():
        verdict, _, rest = line.partition("  ")
        point, _, seen = rest.partition(": ")
        if verdict in {"PASS", "FAIL", "SKIP"}:
            points[point] = (verdict, seen)
    return done.returncode, points, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "skipped"),
    [
        ((), {"preemption"}),
        (
            ("--azureml-sdk", "v1", "--azureml-compute", "cpu-cluster"),
            {"low priority", "preemption"},
        ),
    ],
    ids=["v2", "v1"],
)
def test_every_point_passes_and_nothing_is_left(
    azureml: Emulator, options: tuple[str, ...], skipped: set[str]
) -> None:
    code, points, printed = smoke(azureml, *options)
    assert code == 0, printed
    assert {point for point, (verdict, _) in points.items() if verdict == "SKIP"} == skipped
    assert {verdict for verdict, _ in points.values()} == {"PASS", "SKIP"}
    assert points["upload twice"][1].endswith("then 0 bytes")
    assert {job.status for job in azureml.jobs()} <= {"Completed", "Canceled"}
    assert azureml.blobs("snakemake/") == {}


def test_what_fails_is_named_and_the_rest_is_checked(azureml: Emulator) -> None:
    azureml.add_fault("fail_at_start", job="smoke-probe-.*")
    code, points, printed = smoke(azureml)
    assert code == 1
    failed = {point for point, (verdict, _) in points.items() if verdict == "FAIL"}
    assert failed == {"log while running", "state while running", "result"}, printed
    assert points["mount"] == ("SKIP", "needs the result of the job")
    assert points["cancel"][0] == "PASS"
    assert azureml.blobs("snakemake/") == {}
