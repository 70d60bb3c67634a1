"""What the checks of `smoke.py` share: a workspace, a job as the executor would submit it."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from snakemake_executor_plugin_azureml import runner
from snakemake_executor_plugin_azureml.client.retrying import RetryingClient
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.fetching import Result, read_result
from snakemake_executor_plugin_azureml.jobs import (
    TERMINAL,
    WAITING,
    JobInfo,
    JobSpec,
    mount_variable,
)
from snakemake_executor_plugin_azureml.packing import (
    Manifest,
    Package,
    StoredFile,
    Tree,
    pack_sources,
    stage,
)
from snakemake_executor_plugin_azureml.store import MEBIBYTE, Store

EXPERIMENT = "crossfold_smoke"
PROBE = Path(__file__).with_name("smoke_probe.py")

SMALL_FILES = 30
LARGE_BYTES = 17 * MEBIBYTE  # travels in two blocks
# From outside, the last files of a job are seen some time after its end.
ARRIVAL_S = 120.0


class Skipped(Exception):  # noqa: N818 - reads better where it is raised
    """A point that cannot be checked here."""


class Unexpected(Exception):  # noqa: N818
    """Something else was seen than what Crossfold relies on."""


class Outages(logging.Handler):
    """Counts how often the client began to ask again."""

    count = 0

    def emit(self, _record: logging.LogRecord) -> None:
        """Count a message of the client's patience."""
        self.count += 1


@dataclass(kw_only=True)
class Session:
    """A workspace, and what this run has put into it."""

    options: argparse.Namespace
    client: RetryingClient
    outages: Outages
    folder: Path
    key: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    environment: str = ""
    submitted: list[str] = field(default_factory=list)
    probe: JobInfo | None = None
    result: Result | None = None

    @property
    def prefix(self) -> str:
        """Folder of the datastore that belongs to this run alone."""
        return f"{self.options.prefix.strip('/')}/smoke-{self.key}"

    @property
    def store(self) -> Store:
        """The store, without memory of what has been sent before."""
        return Store(self.client.container(self.options.datastore), self.prefix)

    @property
    def mounted(self) -> str:
        """Where the store keeps what the job knows as `.state`."""
        return f"persistent/{self.key}/.state"

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the probe: some of the length and the letters that those of a study have."""
        return {
            f"smoke-{self.key}": "yes",
            "rule": "train_fold+predict_fold",
            "wildcards": "model=Prostata größer, " + "x" * 230,
        }

    @cached_property
    def package(self) -> Package:
        """The probe as the executor would pack it."""
        digests = DigestCache(self.folder / "digests.json")
        (self.folder / PROBE.name).write_bytes(PROBE.read_bytes())
        sources = pack_sources([PROBE.name], self.folder / "sources.tar", digests)
        inputs = self.folder / "in"
        inputs.mkdir()
        content = random.Random(self.key)
        for number in range(SMALL_FILES):
            (inputs / f"{number:03}.bin").write_bytes(content.randbytes(2_000))
        (inputs / "large.bin").write_bytes(content.randbytes(LARGE_BYTES))
        *files, start = digests.hash([*sorted(inputs.iterdir()), Path(runner.__file__)])
        manifest = Manifest(
            command=f"python {PROBE.name} .state {self.options.watch_s}",
            sources=sources.archive.digest,
            inputs=Tree(
                tuple(StoredFile(f"in/{f.path.name}", f.digest, f.size, 0o644) for f in files)
            ),
            outputs=("out",),
            mounts={".state": self.mounted},
        )
        return Package(manifest, (sources.archive, *files, start), start)

    def spec(self, what: str, package: Package, **changed: object) -> JobSpec:
        """A job of this run as the executor would submit it."""
        if not self.environment:
            raise Skipped("needs the environment")
        name = f"smoke-{what}-{self.key}"
        usual = {
            "command": package.command(f"${mount_variable('store')}", name),
            "compute": self.options.compute,
            "tier": self.options.tier,
            "tags": {f"smoke-{self.key}": "yes"},
        }
        return JobSpec(
            name=name,
            display_name=f"smoke: {what}",
            experiment=EXPERIMENT,
            environment=self.environment,
            mounts={"store": f"azureml://datastores/{self.options.datastore}/paths/{self.prefix}/"},
            shm_size=self.options.shm_size,
            identity_client_id=self.options.identity_client_id,
            **usual | changed,
        )

    def start(self, spec: JobSpec) -> JobInfo:
        """Submit a job that `clean_up` knows of."""
        self.submitted.append(spec.name)
        return self.client.submit(spec)

    def start_sleeper(self, what: str, **changed: object) -> JobInfo:
        """Submit a job that does nothing for ten minutes."""
        manifest = dataclasses.replace(
            self.package.manifest, command="echo sleeping; sleep 600", inputs=Tree(), outputs=()
        )
        package = dataclasses.replace(self.package, manifest=manifest)
        spec = self.spec(what, package, **changed)
        stage(self.store, spec.name, package)
        return self.start(spec)

    def wait(self, name: str, is_done: Callable[[JobInfo], bool], limit_s: float) -> JobInfo:
        """Ask for a job until something is the case."""
        deadline = time.monotonic() + limit_s
        while not is_done(info := self.client.get(name)):
            if time.monotonic() > deadline:
                raise Unexpected(f"{info.status} after {limit_s:.0f} s, see {info.url}")
            time.sleep(self.options.poll_s)
        return info

    def wait_for_command(self, name: str) -> JobInfo:
        """Wait until the command of a job runs, or the job is over."""
        return self.wait(
            name, lambda info: info.status not in WAITING, 60 * self.options.patience_min
        )

    def wait_for_result(self, name: str) -> Result:
        """The result of a job that has ended, as soon as it is seen from outside."""
        deadline = time.monotonic() + ARRIVAL_S
        while (result := read_result(self.store, name)) is None:
            if time.monotonic() > deadline:
                raise Unexpected(f"no result {ARRIVAL_S:.0f} s after the end of {name}")
            time.sleep(self.options.poll_s)
        return result

    def wait_for_line(self, name: str, start: str) -> None:
        """Wait until a job that runs has printed a line."""
        while not any(line.startswith(start) for line in self.client.log_tail(name)):
            if self.client.get(name).status in TERMINAL:
                raise Unexpected("nothing before the job was over")
            time.sleep(self.options.poll_s)

    def running_probe(self) -> JobInfo:
        """The probe, which has to have been submitted."""
        if self.probe is None:
            raise Skipped("needs the job")
        return self.probe

    def probe_result(self) -> Result:
        """The result of the probe, which has to have ended well."""
        if self.result is None:
            raise Skipped("needs the result of the job")
        return self.result
