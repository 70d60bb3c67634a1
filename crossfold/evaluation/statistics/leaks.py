"""Subjects that a run was trained on, and on which it therefore cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from crossfold.evaluation.statistics.runs import Run, about_subjects
from crossfold.evaluation.statistics.sources import listed

LEAKS_COLUMNS = ["run", "split", "fold", "subject", "group", "trained_on"]


def find_leaks(runs: Sequence[Run], compared: pd.DataFrame) -> pd.DataFrame:
    """Find the rows in which a run was trained on the subject, or on a scan of its group.

    A row of a fold leaks if that fold's model was trained on it; a row of the ensemble, or of a
    model whose fold is not known, if any fold was. A validation row of unknown fold leaks only if
    no fold validated it. Of a run without splits.csv nothing is known, which `Run.notes` says.

    Parameters
    ----------
    runs
        All runs.
    compared
        What `combine` returned.

    Returns
    -------
    DataFrame
        The columns `LEAKS_COLUMNS`, one row per split, fold and subject; `trained_on` names the
        scans that the run was trained on.
    """
    groups = about_subjects(runs)["group"]
    leaks = [
        leak
        for run in runs
        for leak in _leaks_of(run, compared[compared["run"] == run.label], groups)
    ]
    return pd.DataFrame(leaks, columns=LEAKS_COLUMNS)


def refusal(leaks: pd.DataFrame, label: str, rows: pd.DataFrame) -> str:
    """Say why rows of a run cannot be compared; empty if they can.

    Parameters
    ----------
    leaks
        What `find_leaks` returned.
    label
        The run.
    rows
        Its rows that are to be compared.
    """
    keys = ["split", "fold", "subject"]
    trained = leaks[leaks["run"] == label].merge(rows[keys].drop_duplicates(), on=keys)
    named = {
        subject if scan == subject else f"{subject} (as {scan})"
        for subject, scan in zip(trained["subject"], trained["trained_on"], strict=True)
    }
    return f"{label} was trained on {listed(named, most=20)}" if named else ""


def _leaks_of(run: Run, rows: pd.DataFrame, groups: pd.Series[str]) -> list[tuple[Any, ...]]:
    """Rows of `LEAKS_COLUMNS`; groups: of every subject, as all runs name it."""
    if run.roles is None:
        return []
    own_groups = dict(zip(run.roles["subject"], run.roles["group"], strict=True))
    validated = set(run.roles.loc[run.roles["role"] == "val", "subject"])
    scans = _trained_scans(run.roles, groups)
    leaks = []
    keys = rows[["split", "fold", "subject", "group"]].drop_duplicates()
    for split, fold, subject, group in keys.itertuples(index=False, name=None):
        is_out_of_fold = split == "val" and subject in validated
        folds = [fold] if fold.isdigit() else [] if is_out_of_fold else list(scans)
        names = {subject, group, own_groups.get(subject, subject)}
        trained = {
            scan for one in folds for name in names for scan in scans.get(one, {}).get(name, ())
        }
        if trained:
            leaks.append((run.label, split, fold, subject, group, listed(trained)))
    return leaks


def _trained_scans(roles: pd.DataFrame, groups: pd.Series[str]) -> dict[str, dict[str, set[str]]]:
    """Scans that each fold was trained on, by every name of the scan and of its group."""
    scans: dict[str, dict[str, set[str]]] = {}
    trained = roles[roles["role"] == "train"]
    for subject, group, fold in trained[["subject", "group", "fold"]].itertuples(index=False):
        for name in {subject, group, groups[subject]}:
            scans.setdefault(fold, {}).setdefault(name, set()).add(subject)
    return scans
