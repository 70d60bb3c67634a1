"""Tables of a run on Azure Machine Learning, through the executor plugin."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from crossfold.config.statistics import ComparedRun
from crossfold.errors import CrossfoldError

CACHE = Path(".snakemake/azureml/compared")
PROFILE = Path("azureml/profile.yaml")

_PLUGIN = "snakemake_executor_plugin_azureml"
_METRICS = ("metrics.csv", "ensemble_metrics.csv")
_SPLITS = "splits.csv"
# InnerEye has a table for each of them, Crossfold says in a column whom a row is about.
_SPLIT_FOLDERS = {"train", "val", "test"}


@dataclass(frozen=True)
class Tables:
    """Downloaded tables of a run.

    Parameters
    ----------
    metrics, splits
        Where they are; None where the run has no splits.csv.
    source
        `<experiment>/<run>:<path of the metrics in the run>`.
    """

    metrics: Path
    splits: Path | None
    source: str


def download_tables(run: ComparedRun, cache: Path = CACHE) -> Tables:
    """Download the metrics of a run, and its splits, unless that has been done.

    Of several tables, that in the folder of the wanted split is taken, then metrics.csv before
    ensemble_metrics.csv, then the one nearest to the top: those of single folds lie below it.

    Raises
    ------
    CrossfoldError
        If the plugin is not installed, or there is no workspace, run or table.
    """
    named = f"compare: azureml {run.azureml}"
    try:
        products = importlib.import_module(f"{_PLUGIN}.products")
    except ModuleNotFoundError as error:
        raise CrossfoldError(
            f"{named}: the package {error.name} is not installed", remedy="run `make setup-azureml`"
        ) from error
    try:
        files = products.fetch_products(
            run.azureml,
            (*_METRICS, _SPLITS),
            cache,
            profile=PROFILE if PROFILE.is_file() else None,
        )
    except products.WorkflowError as error:
        raise CrossfoldError(f"{named}: {error}") from error
    metrics = [file for file in files if file.name in _METRICS and _is_about(file, run.split)]
    if not metrics:
        raise CrossfoldError(
            f"{named}: the run has no metrics of the split {run.split}",
            remedy="name a run that has measured, or another `split`",
        )
    best = min(metrics, key=lambda file: (*_preference(file, run.split), file))
    splits = [file for file in files if file.name == _SPLITS]
    path = best.relative_to(cache / run.azureml.rpartition("/")[2]).as_posix()
    return Tables(
        metrics=best,
        splits=min(splits, key=lambda file: len(file.parts), default=None),
        source=f"{run.azureml}:{path}",
    )


def _is_about(file: Path, split: str) -> bool:
    folder = file.parent.name.lower()
    return folder == split or folder not in _SPLIT_FOLDERS


def _preference(file: Path, split: str) -> tuple[bool, int, int]:
    return file.parent.name.lower() != split, _METRICS.index(file.name), len(file.parts)
