"""The runs that are compared: read from wherever they are, and put into one frame."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.results import result_rows
from crossfold.evaluation.statistics.azureml import download_tables
from crossfold.evaluation.statistics.revisions import MissingFileError, beside, read_revision
from crossfold.evaluation.statistics.sources import (
    DISTANCES,
    INNEREYE_NOTE,
    OVERLAPS,
    add_dataset,
    is_innereye,
    listed,
    parse_metrics,
    parse_roles,
)

COMPARED_METRICS = (*OVERLAPS, *DISTANCES)
COMPARED_COLUMNS = [
    *("run", "split", "fold", "seed", "subject", "group", "institution", "series"),
    *("structure", "state", *COMPARED_METRICS, "volume_ref_ml", "volume_pred_ml"),
]
RUNS_COLUMNS = ["run", "kind", "source", "n_subjects", "splits_known", "note"]
_SPLITS_UNKNOWN = "it is not known whom it was trained on (no splits.csv), so leaks are not seen"


@dataclass(frozen=True)
class Run:
    """A run and what is known of it.

    Parameters
    ----------
    label
        Name in tables and figures.
    kind
        model: of this configuration; metrics: a table by path; revision: of a repository; azureml:
        of a workspace.
    source
        Path of its table, `<revision>:<path>` or `<experiment>/<run>:<path>`.
    rows
        What `parse_metrics` returned.
    roles
        What `parse_roles` returned; None where no splits.csv is known.
    notes
        What a reader of its numbers should know.
    """

    label: str
    kind: Literal["model", "metrics", "revision", "azureml"]
    source: str
    rows: pd.DataFrame
    roles: pd.DataFrame | None
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The name in its own table, or else its label."""
        names = self.rows["model"].unique()
        return str(names[0]) if len(names) == 1 and names[0] else self.label

    def noting(self, *notes: str) -> Run:
        """The same run with more notes; empty ones are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))


def read_model(label: str, metrics: Path, splits: Path) -> Run:
    """Read a model of this configuration from its metrics.csv and splits.csv.

    Raises
    ------
    CrossfoldError
        If a file is missing or a cell of it is wrong; the message names file and line.
    """
    roles = parse_roles(_read_text(splits), str(splits))
    rows = parse_metrics(_read_text(metrics), str(metrics))
    return Run(label, "model", metrics.as_posix(), rows, roles)


def read_run(run: ComparedRun, metrics: Path | None = None, splits: Path | None = None) -> Run:
    """Read a compared run from its source.

    Parameters
    ----------
    run
        Entry of `statistics.compare`.
    metrics, splits
        Files of a model of this configuration; otherwise they replace the paths in `run`.

    Raises
    ------
    CrossfoldError
        If a file, repository or revision is missing, or a cell is wrong.
    """
    if run.revision:
        return _read_revised(run)
    if run.azureml:
        return _read_downloaded(run)
    if run.model:
        if metrics is None or splits is None:
            raise CrossfoldError(
                f"compare: {run.model}: its metrics.csv and splits.csv have to be given",
                remedy=f"compute results/{run.model}/metrics.csv first",
            )
        return read_model(run.name, metrics, splits)
    path = metrics or _expanded(run.metrics)
    rows, notes = _parsed(_read_text(path), run, path.as_posix())
    known = splits or (_expanded(run.splits) if run.splits else path.with_name("splits.csv"))
    roles = None
    if run.splits or known.is_file():
        roles = parse_roles(_read_text(known), str(known))
    return Run(run.name, "metrics", path.as_posix(), rows, roles, _with_splits(notes, roles))


def check_labels(labels: Sequence[str]) -> None:
    """Refuse two runs of one name.

    Raises
    ------
    CrossfoldError
        If a name is empty or occurs twice.
    """
    for label in labels:
        if not label or labels.count(label) > 1:
            raise CrossfoldError(
                f"compare: {labels.count(label)} runs are called `{label}`, among "
                + ", ".join(f"`{other}`" for other in labels),
                remedy="give each of them its own `label`",
            )


def combine(
    runs: Sequence[Run], structures: Sequence[str], config: StatisticsConfig
) -> tuple[list[Run], pd.DataFrame]:
    """Put the rows of all runs into one frame, without what the configuration leaves out.

    Group and institution of a subject are taken from the first run that knows them. What is left
    out, and what a run lacks, is added to its notes.

    Parameters
    ----------
    runs
        The model itself, then what it is compared with.
    structures
        Structures of the model, derived ones behind.
    config
        Excluded structures and ignored subjects.

    Returns
    -------
    runs, compared
        The runs with notes, and the columns `COMPARED_COLUMNS` with `nsd_tolerance_mm` behind.
    """
    about = about_subjects(runs)
    strangers = set(config.ignore_subjects) - set(about.index)
    wanted = [name for name in structures if name not in config.exclude_structures]
    frames, noted = [], []
    for run in runs:
        rows = run.rows
        ignored = rows["subject"].isin(config.ignore_subjects)
        excluded = rows["structure"].isin(config.exclude_structures)
        rows = rows[~ignored & ~excluded]
        known = rows["subject"].map(about["institution"])
        frames.append(
            rows.assign(
                run=run.label,
                group=rows["subject"].map(about["group"]),
                institution=rows["institution"].where(rows["institution"] != "", known),
            )
        )
        noted.append(
            run.noting(
                _about_ignored(set(run.rows.loc[ignored, "subject"]), "subjects"),
                _about_ignored(set(run.rows.loc[excluded, "structure"]), "structures"),
                _about_structures(set(rows["structure"]), wanted),
                _about_metrics(rows),
            )
        )
    noted[0] = noted[0].noting(_about_strangers(strangers))
    compared = pd.concat(frames, ignore_index=True).astype({"seed": "Int64"})
    return noted, compared[[*COMPARED_COLUMNS, "nsd_tolerance_mm"]]


def results_of(compared: pd.DataFrame, label: str, split: str) -> pd.DataFrame:
    """Rows that are the result of a run: see `result_rows`."""
    return result_rows(compared[compared["run"] == label], split)


def about_subjects(runs: Sequence[Run]) -> pd.DataFrame:
    """Group and institution by subject, of the first run that knows them.

    Returns
    -------
    DataFrame
        Text: group (the subject itself, where no run knows one) and institution; index: subject.
    """
    known = [frame for run in runs for frame in (run.roles, run.rows) if frame is not None]
    rows = pd.concat([frame[["subject", "group", "institution"]] for frame in known])
    about = rows.mask(rows == "").groupby("subject").first().fillna("")
    about["group"] = about["group"].where(about["group"] != "", about.index)
    return about


def runs_table(runs: Sequence[Run], compared: pd.DataFrame) -> pd.DataFrame:
    """One row per run, then one per fold of the first one: what they are and what to know of them.

    Returns
    -------
    DataFrame
        The columns `RUNS_COLUMNS`.
    """
    subjects = compared.groupby("run")["subject"].nunique()
    table: list[tuple[Any, ...]] = [
        (
            *(run.label, run.kind, run.source, subjects.get(run.label, 0)),
            *(run.roles is not None, "; ".join(run.notes)),
        )
        for run in runs
    ]
    model = runs[0]
    tested = compared[(compared["run"] == model.label) & (compared["split"] == "test")]
    counts = tested.groupby("fold")["subject"].nunique()
    table += [
        (member_label(model.label, fold), "fold", model.source, counts[fold], True, "on test")
        for fold in sort_folds(counts.index)
        if fold
    ]
    return pd.DataFrame(table, columns=RUNS_COLUMNS)


def member_label(label: str, fold: str) -> str:
    """Name of a fold's model, or of the ensemble, in comparisons within a model."""
    return f"{label} ensemble" if fold == "ensemble" else f"{label} fold {fold}"


def sort_folds(folds: Iterable[str]) -> list[str]:
    """Folds in the order of their numbers, the ensemble last."""
    return sorted(folds, key=lambda fold: (int(fold) if fold.isdigit() else np.inf, fold))


def _read_revised(run: ComparedRun) -> Run:
    rows, notes = _parsed(read_revision(run.revision, run.repository), run, run.revision)
    roles = None
    if run.splits:
        path = _expanded(run.splits)
        roles = parse_roles(_read_text(path), str(path))
    else:
        source = beside(run.revision, "splits.csv")
        try:
            roles = parse_roles(read_revision(source, run.repository), source)
        except MissingFileError:
            roles = None
    return Run(run.name, "revision", run.revision, rows, roles, _with_splits(notes, roles))


def _read_downloaded(run: ComparedRun) -> Run:
    tables = download_tables(run)
    rows, notes = _parsed(_read_text(tables.metrics), run, tables.source)
    roles = None
    if splits := _expanded(run.splits) if run.splits else tables.splits:
        roles = parse_roles(_read_text(splits), str(splits))
    return Run(run.name, "azureml", tables.source, rows, roles, _with_splits(notes, roles))


def _parsed(text: str, run: ComparedRun, source: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Parse a table by path or revision, with its dataset.csv where one is named."""
    rows = parse_metrics(text, source, split=run.split)
    innereye = is_innereye(text.partition("\n")[0].strip().lstrip("\ufeff").split(","))
    if innereye:
        _check_folder(source, run)
    if run.dataset:
        rows = add_dataset(rows, _expanded(run.dataset), source)
    return rows, (INNEREYE_NOTE,) if innereye else ()


def _check_folder(source: str, run: ComparedRun) -> None:
    """Refuse an InnerEye table whose folder, Test or Val, is not what the configuration says."""
    folder = source.replace("\\", "/").split("/")[-2:-1]
    if folder and folder[0].lower() in {"val", "test"} - {run.split}:
        raise CrossfoldError(
            f"compare: {source} lies in the folder {folder[0]}, but its `split` is {run.split}",
            remedy=f"set `split: {folder[0].lower()}` for it",
        )


def _with_splits(notes: tuple[str, ...], roles: pd.DataFrame | None) -> tuple[str, ...]:
    return notes if roles is not None else (*notes, _SPLITS_UNKNOWN)


def _about_ignored(names: set[str], what: str) -> str:
    return f"{what} left out as configured: {listed(names)}" if names else ""


def _about_strangers(names: set[str]) -> str:
    """Name subjects that are in no run: a slip of the pen, or subjects of another dataset."""
    return f"ignore_subjects of whom there is no result: {listed(names)}" if names else ""


def _about_structures(found: set[str], wanted: Sequence[str]) -> str:
    missing = [name for name in wanted if name not in found]
    other = found - set(wanted)
    return "; ".join(
        [f"no structure {name}" for name in missing]
        + ([f"structures that are not compared: {listed(other)}"] if other else [])
    )


def _about_metrics(rows: pd.DataFrame) -> str:
    missing = [name for name in COMPARED_METRICS if rows[name].isna().all()]
    return f"not measured: {', '.join(missing)}" if missing and len(rows) else ""


def _expanded(text: str) -> Path:
    """Expand environment variables and `~`."""
    return Path(os.path.expandvars(text)).expanduser()


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CrossfoldError(
            f"compare: {path}: no such file",
            remedy="correct the path, export the variables in it, or compute the file",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CrossfoldError(
            f"compare: {path}: not readable ({error})", remedy="save it as UTF-8 text"
        ) from error
