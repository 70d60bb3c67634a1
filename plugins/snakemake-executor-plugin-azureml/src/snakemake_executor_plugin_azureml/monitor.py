"""Learning curves of running and finished jobs, kept up to date in a local folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from snakemake_executor_plugin_azureml.client import Client
from snakemake_executor_plugin_azureml.client.errors import Refused
from snakemake_executor_plugin_azureml.jobfiles import JobFiles
from snakemake_executor_plugin_azureml.jobs import JobInfo
from snakemake_executor_plugin_azureml.settings import ExecutorSettings

EVENT_FILES = "*tfevents*"
"""What TensorBoard takes for its own."""

JOBS_AT_ONCE = 8
_GONE = 404


def sync_events(
    client: Client,
    jobs: Iterable[JobInfo],
    folder: Path,
    *,
    settings: ExecutorSettings | None = None,
    patterns: Sequence[str] = (EVENT_FILES,),
) -> list[Path]:
    """Bring the event files of jobs up to date below ``folder/<job>/``; only what has changed.

    Parameters
    ----------
    client
        Opens the containers that they lie in.
    jobs
        Running or finished ones.
    folder
        What TensorBoard is started with. Files of other jobs, and files that a job has deleted,
        stay in it.
    settings
        Where the executor keeps files; the defaults if None.
    patterns
        Names of the files, with ``*`` and ``?``: other curves may be of interest as well.

    Returns
    -------
    list of pathlib.Path
        All such files of the jobs, whether they have changed or not.

    Raises
    ------
    WorkflowError
        If the storage refuses or does not answer.
    """
    files = JobFiles(client, settings or ExecutorSettings())

    def wanted(path: str) -> bool:
        name = PurePosixPath(path).name
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    def sync(job: JobInfo) -> list[Path]:
        brought = []
        for file in files.find(job, wanted):
            try:
                brought.append(files.bring(file, folder / job.name))
            except Refused as refusal:
                if refusal.status != _GONE:  # a running job has deleted it in the meantime
                    raise
        return brought

    with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
        return [path for paths in pool.map(sync, jobs) for path in paths]
