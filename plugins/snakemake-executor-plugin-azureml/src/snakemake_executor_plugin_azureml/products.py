"""Some files of an earlier run, for comparisons: only these are downloaded, and only once."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.jobfiles import JobFiles
from snakemake_executor_plugin_azureml.jobs import TERMINAL
from snakemake_executor_plugin_azureml.runs import open_client, read_settings

_INDEX = "index.json"


def fetch_products(
    run: str, names: Collection[str], folder: Path, *, profile: Path | None = None
) -> list[Path]:
    """Download all files of a run that have one of these names.

    What was downloaded of a run that has ended is taken from the folder the next time, without a
    workspace.

    Parameters
    ----------
    run
        ``<experiment>/<job>``.
    names
        Names of files without folders, such as ``metrics.csv``.
    folder
        The files are put below ``<folder>/<job>/``, at the paths that they have in the job.
    profile
        YAML file of the Snakemake profile that says where the executor keeps files.

    Returns
    -------
    list of pathlib.Path
        The files, sorted.

    Raises
    ------
    WorkflowError
        If there is no workspace, no such run in it, or no such file in the run.
    """
    experiment, _, name = run.rpartition("/")
    place = folder / name
    if (known := _read_index(place)).keys() >= set(names):
        return sorted(place / path for each in names for path in known[each])
    settings = read_settings(profile)
    client = open_client(settings)
    job = client.get(name)
    if experiment and job.experiment != experiment:
        raise WorkflowError(f"The job {name} is in experiment {job.experiment}, not {experiment}.")
    files = JobFiles(client, settings)
    found = list(files.find(job, lambda path: _name(path) in names))
    if not found:
        raise WorkflowError(f"The job {name} ({job.status}) has no {' and no '.join(names)}.")
    brought = sorted(files.bring(file, place) for file in found)
    if job.status in TERMINAL:
        paths = {each: [file.path for file in found if _name(file.path) == each] for each in names}
        _write_index(place, paths)
    return brought


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _read_index(place: Path) -> dict[str, list[str]]:
    """What is in the folder of a run that has ended, by name; empty if that is not known."""
    try:
        index: dict[str, list[str]] = json.loads((place / _INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_whole = all((place / path).is_file() for paths in index.values() for path in paths)
    return index if is_whole else {}


def _write_index(place: Path, index: dict[str, list[str]]) -> None:
    part = place / f"{_INDEX}.part"
    part.write_text(json.dumps(index, indent=1), encoding="utf-8")
    os.replace(part, place / _INDEX)
