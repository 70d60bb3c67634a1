"""What jobs on Azure Machine Learning cost the machine that sends them, against the emulator.

    python -m benchmarks.azureml_jobs

The emulator of the tests runs on this machine and shares its cores; there is no network between.
"""

import datetime
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_azureml.client import connect
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.dispatch import BATCH, Dispatcher
from snakemake_executor_plugin_azureml.packing import pack_sources
from snakemake_executor_plugin_azureml.records import Record
from snakemake_executor_plugin_azureml.workspace import find_workspace

from benchmarks.machine import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from azureml_emulator.azurite import Azurite, AzuriteMissingError
from azureml_emulator.emulator import Emulator

ROUNDS, JOBS, ACTIVE, HISTORY = 3, 50, 500, 2000
COMMAND = (
    *(sys.executable, "-m", "snakemake", "--executor", "azureml", "--jobs", str(JOBS)),
    *("--azureml-environment", "ghcr.io/lab/pipeline:1", "--azureml-compute", "cpu-cluster"),
    *("--seconds-between-status-checks", "1"),
)
MANY = f"""
rule all:
    input: expand("results/{{number}}", number=range({JOBS}))
rule make:
    input: "data/{{number}}"
    output: "results/{{number}}"
    shell: "cp {{input}} {{output}}"
"""
# Each remote job begins when a rule that runs here has just ended.
IN_TURN = """
rule here:
    input: lambda wildcards: [f"there/{int(wildcards.number) - 1}"] * (wildcards.number != "0")
    output: "here/{number}"
    localrule: True
    shell: "date +%s.%N > {output}"
rule there:
    input: "here/{number}"
    output: "there/{number}"
    shell: "date +%s.%N > {output}"
"""


@contextmanager
def emulator(azurite: Azurite, snakefile: str) -> Iterator[tuple[Emulator, Path]]:
    """Yield a new emulator, and a folder with a workflow."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "workflow"
        (folder / "data").mkdir(parents=True)
        for number in range(JOBS):
            (folder / "data" / str(number)).write_text(str(number), encoding="utf-8")
        (folder / "Snakefile").write_text(snakefile, encoding="utf-8")
        with Emulator(azurite, Path(name)) as server:
            yield server, folder


def submit_many(azurite: Azurite) -> dict[str, float]:
    """Submit jobs that wait in the queue."""
    with emulator(azurite, MANY) as (server, folder):
        server.add_fault("stuck", job="^make")
        started = time.perf_counter()
        process = subprocess.Popen(
            COMMAND, cwd=folder, env=server.process_environment, stderr=subprocess.DEVNULL
        )
        server.wait_until(lambda: bool(server.jobs()), timeout_s=120)
        first = time.perf_counter()
        server.wait_until(lambda: len(server.jobs()) == JOBS, timeout_s=120)
        last = time.perf_counter()
        process.kill()
        process.wait()
    return {
        f"{JOBS} jobs submitted, first to last (s)": last - first,
        "from the call of snakemake to the last (s)": last - started,
    }


def ask_for_many(azurite: Azurite) -> dict[str, float]:
    """Ask for active jobs in a workspace with a history."""
    with emulator(azurite, MANY) as (server, folder):
        os.environ.update(server.environment)
        digests = DigestCache(folder / "digests.json")
        dispatcher = Dispatcher(
            client=connect("v2", find_workspace()),
            datastore="workspaceblobstore",
            prefix="snakemake",
            experiment="main",
            sources=pack_sources([], folder / "sources.tar", digests),
            digests=digests,
            logger=logging.getLogger("benchmark"),
            ending=threading.Event(),
            folder=folder,
        )
        properties = {"jobType": "Command", "command": "true", "experimentName": "main"}
        properties |= {"computeId": f"{server.workspace.path}/computes/cpu-cluster"}
        server.add_jobs(properties, count=HISTORY, status="Completed")
        submissions: list[Any] = []
        for number in range(ACTIVE // BATCH):
            batch = f"snakemake-{number}"
            tagged = properties | {"tags": {batch: dispatcher.records.workflow}}
            for job in server.add_jobs(tagged, count=BATCH, status="Queued"):
                record = Record(
                    name=job.name, fingerprint="", submission=1, batch=batch, experiment="main"
                )
                submissions.append(SimpleNamespace(record=record))
        dispatcher.statuses(submissions[:10])  # opens the connection
        server.forget_requests()
        started = time.perf_counter()
        assert len(dispatcher.statuses(submissions)) == ACTIVE
        seconds = time.perf_counter() - started
        return {
            f"round of polling, {ACTIVE} active jobs (s)": seconds,
            "requests of that round": len(server.requests(service="api")),
        }


def send_in_turn(azurite: Azurite, count: int = 4) -> dict[str, float]:
    """Measure from the moment a job may begin to its command, less what the emulator takes."""
    with emulator(azurite, IN_TURN) as (server, folder):
        subprocess.run(
            [*COMMAND, f"there/{count - 1}"],
            cwd=folder,
            env=server.process_environment,
            check=True,
            capture_output=True,
        )
        overheads_s, until_snakemake_s = [], []
        for number, job in enumerate(server.jobs()):
            may_begin, begun = (
                float((folder / place / str(number)).read_text()) for place in ("here", "there")
            )
            times = {status: datetime.datetime.fromisoformat(when) for when, status in job.history}
            queued_s = (times["Running"] - times["NotStarted"]).total_seconds()
            overheads_s.append(begun - may_begin - queued_s)
            result = json.loads(server.blobs(f"snakemake/jobs/{job.name}/result.json").popitem()[1])
            inner = datetime.datetime.fromisoformat(result["command_started"]).timestamp()
            until_snakemake_s.append(inner - may_begin - queued_s)
        return {
            "overhead of the first job, with the import of the SDK (s)": overheads_s[0],
            f"overhead of each of {count - 1} others (s)": statistics.median(overheads_s[1:]),
            "of that, before Snakemake starts in the job (s)": statistics.median(
                until_snakemake_s[1:]
            ),
        }


def main() -> None:
    """Print medians of all rounds."""
    try:
        azurite = Azurite()
    except AzuriteMissingError as missing:
        sys.exit(str(missing))
    measures: tuple[Callable[[Azurite], dict[str, float]], ...]
    measures = (submit_many, ask_for_many, send_in_turn)
    try:
        rounds = [measure(azurite) for _ in range(ROUNDS) for measure in measures]
    finally:
        azurite.stop()
    print(describe())
    print("\n| what | median | rounds |\n|---|---|---|")
    for name in dict.fromkeys(itertools.chain.from_iterable(rounds)):
        values = [found[name] for found in rounds if name in found]
        shown = ", ".join(f"{value:.3g}" for value in values)
        print(f"| {name} | {statistics.median(values):.3g} | {shown} |")


if __name__ == "__main__":
    main()
