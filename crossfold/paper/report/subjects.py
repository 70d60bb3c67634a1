"""The table of subjects: what was measured on each of them, and why it is an outlier."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold.paper.report.pictures import Picture, thumbnail_picture
from crossfold.paper.tables.numbers import number
from crossfold.paths import subject_file

METRICS = {"dice": ("Dice", 3), "nsd": ("NSD", 3), "hd95_mm": ("HD95 (mm)", 1)}
"""Metrics that the table can show, with their names and digits."""
_STATES = {"missed": "missed", "hallucinated": "invented", "true_absent": "absent"}


@dataclass(frozen=True)
class Cell:
    """One metric of one structure.

    Parameters
    ----------
    text
        As it is shown.
    key
        What it is sorted by; empty if it is missing.
    """

    text: str
    key: str


@dataclass(frozen=True)
class Row:
    """One subject.

    Parameters
    ----------
    subject, split, fold, institution
        Who it is, and who predicted it.
    thumbnail
        None where there is none.
    mean
        Mean of each metric over the structures that are not unions of others.
    structures
        Metrics of each structure, None where it was not measured.
    states
        State of each structure: ok, missed, hallucinated or true_absent.
    flags
        Classes of outlier, each with its reasons.
    """

    subject: str
    split: str
    fold: str
    institution: str
    thumbnail: Picture | None
    mean: Mapping[str, Cell]
    structures: Sequence[Mapping[str, Cell] | None]
    states: Sequence[str]
    flags: Mapping[str, str]


def result_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are a subject's result: out of fold, or by the ensemble."""
    return frame[(frame["split"] == "val") | (frame["fold"] == "ensemble")]


def subject_rows(
    metrics: pd.DataFrame,
    outliers: pd.DataFrame,
    *,
    structures: Sequence[str],
    derived: Collection[str],
    thumbnails: Path | None,
) -> Iterator[Row]:
    """Yield one row per subject, the lowest mean Dice first.

    Parameters
    ----------
    metrics
        metrics.csv.
    outliers
        outliers.csv, or an empty frame.
    structures
        Structures in the order of the columns.
    derived
        Those of them that are unions of others.
    thumbnails
        Directory of `<subject>.png`, or None.
    """
    results = result_rows(metrics)
    own = results[~results["structure"].isin(derived)]
    means = own.groupby(["subject", "split"])[[*METRICS]].mean()
    means = means.sort_values("dice", kind="stable").reset_index()
    records: dict[tuple[str, str], dict[str, dict[Any, Any]]] = {}
    for record in results.to_dict("records"):
        key = record["subject"], record["split"]
        records.setdefault(key, {})[record["structure"]] = record
    flags = _flags(outliers)
    for mean in means.to_dict("records"):
        subject, split = mean["subject"], mean["split"]
        measured = records[subject, split]
        first = next(iter(measured.values()))
        yield Row(
            subject=subject,
            split=split,
            fold=first["fold"],
            institution=first["institution"],
            thumbnail=_thumbnail(thumbnails, subject),
            mean={metric: _cell(mean[metric], metric) for metric in METRICS},
            structures=[_cells(measured.get(name)) for name in structures],
            states=[measured[name]["state"] if name in measured else "" for name in structures],
            flags=flags.get((subject, split), {}),
        )


def _cells(row: dict[Any, Any] | None) -> dict[str, Cell] | None:
    if row is None:
        return None
    return {metric: _cell(row[metric], metric, row["state"]) for metric in METRICS}


def _cell(value: float, metric: str, state: str = "ok") -> Cell:
    key = "" if math.isnan(value) else "1e99" if math.isinf(value) else f"{value:.6g}"
    return Cell(_STATES.get(state) or number(float(value), METRICS[metric][1]), key)


def _thumbnail(directory: Path | None, subject: str) -> Picture | None:
    if directory is None:
        return None
    file = subject_file(directory, subject, ".png")
    return thumbnail_picture(file) if file.is_file() else None


def _flags(outliers: pd.DataFrame) -> dict[tuple[Any, Any], dict[str, str]]:
    """Return, by subject and split, the reasons of each class of outlier."""
    if outliers.empty:
        return {}
    flags: dict[tuple[Any, Any], dict[str, list[str]]] = {}
    names = ["subject", "split", "class", "reason", "structure"]
    for subject, split, kind, reason, structure in result_rows(outliers)[names].to_numpy():
        text = f"{reason.replace('_', ' ')}{f' ({structure})' if structure else ''}"
        flags.setdefault((subject, split), {}).setdefault(kind, []).append(text)
    return {
        key: {kind: ", ".join(dict.fromkeys(reasons)) for kind, reasons in kinds.items()}
        for key, kinds in flags.items()
    }
