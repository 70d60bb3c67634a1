"""What a job that has ended leaves: its files, or what can be said about its failure."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_azureml.client import Client
from snakemake_executor_plugin_azureml.client.errors import describe
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_executor_plugin_azureml.fetching import Result, fetch, read_result
from snakemake_executor_plugin_azureml.jobs import JobInfo
from snakemake_executor_plugin_azureml.packing import Manifest
from snakemake_executor_plugin_azureml.reaching import insist
from snakemake_executor_plugin_azureml.runner import is_below
from snakemake_executor_plugin_azureml.store import Store

LOG_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job, after its files have been brought back.

    Attributes
    ----------
    message
        Of a job that has failed: what happened, its page in the portal and the end of its log.
    log
        File with what it printed; empty if it printed nothing or succeeded.
    """

    succeeded: bool
    message: str = ""
    log: str = ""


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Brings back files.

    Attributes
    ----------
    logs
        Folder for what failed jobs have printed.
    ending
        Once it is set, waiting ends.
    """

    client: Client
    store: Store
    digests: DigestCache
    logs: Path
    ending: threading.Event

    def collect(self, info: JobInfo, manifest: Manifest) -> Outcome | None:
        """Bring back the files of a job that has ended.

        Returns
        -------
        Outcome or None
            None if the job is complete, but its result has not arrived yet.

        Raises
        ------
        WorkflowError
            If the outputs of a job that succeeded cannot be brought back.
        """
        result = insist("read a result", lambda: read_result(self.store, info.name), self.ending)
        if info.status != "Completed":
            return self.explain(info, manifest, result)
        if result is None:
            return None
        if not result.succeeded:
            return self.explain(info, manifest, result)
        insist(
            f"fetch the outputs of {info.name}",
            lambda: fetch(self.store, result, manifest, digests=self.digests),
            self.ending,
        )
        return Outcome(succeeded=True)

    def explain(self, info: JobInfo, manifest: Manifest, result: Result | None) -> Outcome:
        """Bring back the logs of a job that has failed, and say what is known about it."""
        how = f"is {info.status.lower()}" if info.status == "Canceled" else info.status.lower()
        if result is not None and result.exit_code > 0:
            how += f" with exit code {result.exit_code}"
        if result is not None and result.error:
            how += f" ({result.error})"
        log = self.logs / f"{info.name}.log"
        lines = [f"Azure Machine Learning job {info.name} {how}.", f"Portal: {info.url}"]
        try:
            if result is not None:
                fetch(self.store, _without_outputs(result, manifest), manifest)
            printed = self._printed(info.name, result, log)
        except Exception as error:  # whatever keeps the log away must not hide the failure
            lines.append(f"Its log could not be fetched: {describe(error)}")
        else:
            if printed:
                lines += ["The end of its log:", *(f"    {line}" for line in printed)]
        message = "\n".join(lines)
        for path in manifest.logs:
            _append(Path(path), message)
        return Outcome(succeeded=False, message=message, log=str(log) if log.exists() else "")

    def _printed(self, name: str, result: Result | None, log: Path) -> Sequence[str]:
        """What a job printed: all of it goes to a file, its last lines are returned."""
        log.parent.mkdir(parents=True, exist_ok=True)
        if result is not None and result.printed:
            self.store.download(result.printed, log)
            return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        lines = self.client.log_tail(name, LOG_LINES)
        if lines:
            log.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return lines


def _without_outputs(result: Result, manifest: Manifest) -> Result:
    """The result with nothing but logs and benchmarks, which a failed job may leave."""
    kept = (*manifest.logs, *manifest.benchmarks)

    def is_kept(path: str) -> bool:
        return any(path == top or is_below(path, top) for top in kept)

    products = dataclasses.replace(
        result.products,
        files=tuple(file for file in result.products.files if is_kept(file.path)),
        directories=tuple(filter(is_kept, result.products.directories)),
        links={path: to for path, to in result.products.links.items() if is_kept(path)},
    )
    return dataclasses.replace(result, products=products)


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(f"{text}\n")
