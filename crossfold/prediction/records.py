"""What is kept of predictions beside the images: prediction.json and the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crossfold.images import POSTERIOR_SCALE, atomic_path
from crossfold.paths import subject_file
from crossfold.prediction.subject import SubjectPrediction

ABOUT, VOLUMES, SUMMARY = "prediction.json", "volumes.csv", "predictions.csv"
SUMMARY_COLUMNS = ["subject", "state", "seconds", "reason", "remedy"]
PREDICTED, SKIPPED, REFUSED = "predicted", "there already", "refused"

CSV: dict[str, Any] = {"index": False, "lineterminator": "\n", "float_format": "%.6g"}


def write_tables(summary: pd.DataFrame, output: Path) -> None:
    """Write what became of the subjects, and the volumes of all that are there.

    What an earlier run has found of a subject that is refused now is left out.
    """
    output.mkdir(parents=True, exist_ok=True)
    refused = summary.loc[summary["state"] == REFUSED, "subject"]
    left_out = {subject_file(output, subject, suffix="") for subject in refused}
    found = [
        about.with_name(VOLUMES)
        for about in sorted(output.glob(f"*/{ABOUT}"))
        if about.parent not in left_out
    ]
    tables = [read_volumes(table) for table in found if table.is_file() and table.stat().st_size]
    with atomic_path(output / SUMMARY) as temporary:
        summary.to_csv(temporary, **CSV)
    if tables:
        with atomic_path(output / VOLUMES) as temporary:
            pd.concat(tables).to_csv(temporary, **CSV)
    else:
        (output / VOLUMES).unlink(missing_ok=True)


def read_volumes(path: Path) -> pd.DataFrame:
    """Read volumes.csv; a subject or structure may be called `NA`."""
    texts = {"subject": str, "structure": str}
    empty = {"mean_uncertainty": [""]}
    return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=empty)


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write prediction.json, with the sizes of all other files of a subject."""
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    files.pop(ABOUT, None)
    text = json.dumps(about | {"files": files}, indent=1, ensure_ascii=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def is_whole(folder: Path, asked: dict[str, Any]) -> bool:
    """Say whether a subject was predicted as is asked now, and all of its files are there."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in about["files"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return sizes == about["files"] and all(about.get(key) == asked[key] for key in asked)


def is_of_another_image(folder: Path, images: dict[str, str], sources: dict[str, str]) -> bool:
    """Say whether what was predicted of a name has no channel that is at the same place or equal.

    Parameters
    ----------
    folder
        Of the subject.
    images, sources
        Digest and path by channel.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        before = [dict(about.get(key) or {}) for key in ("images", "sources")]
    except (OSError, ValueError, TypeError, AttributeError):
        return False
    return not any(
        of.get(channel) == value
        for of, asked in zip(before, (images, sources), strict=True)
        for channel, value in asked.items()
    )


def volumes_of(predicted: SubjectPrediction, subject: str) -> pd.DataFrame:
    """Return subject, structure, volume_ml and mean_uncertainty (0 to 1; empty without voxels)."""
    volumes = predicted.volumes_ml()
    labels = predicted.segmentation.ravel(order="K")
    sums = np.bincount(labels, predicted.uncertainty.ravel(order="K"), minlength=256)
    counts = np.bincount(labels, minlength=256)
    means = []
    for structure in volumes["structure"]:
        values = list(predicted.labels[structure])
        count = counts[values].sum()
        means.append(sums[values].sum() / count / POSTERIOR_SCALE if count else np.nan)
    volumes.insert(0, "subject", subject)
    return volumes.assign(mean_uncertainty=means)


def report(summary: pd.DataFrame, output: Path, peak_gb: float | None = None) -> str:
    """Return what was done, for a terminal; with the peak memory where it was this process.

    What is odd about images is said once for each check, with the first subject of which it is
    true; all of it is in prediction.json.
    """
    counts = summary["state"].value_counts()
    lines = [
        f"{counts[state]} {state}" for state in (PREDICTED, SKIPPED, REFUSED) if state in counts
    ]
    text = f"{', '.join(lines)}; {output}"
    if peak_gb is not None:
        text += f"; peak memory {peak_gb:.2f} GB"
    text += "".join(f"\nWarning: {line}" for line in _warnings(summary, output))
    refused = summary[summary["state"] == REFUSED]
    for subject, reason, remedy in refused[["subject", "reason", "remedy"]].to_numpy():
        text += f"\nRefused: {subject}: {reason}" + (f"\n  Remedy: {remedy}" if remedy else "")
    return text


def _warnings(summary: pd.DataFrame, output: Path) -> Iterator[str]:
    told: dict[str, dict[str, list[str]]] = {}
    for subject in summary.loc[summary["state"] == PREDICTED, "subject"]:
        about = subject_file(output, subject, suffix="") / ABOUT
        for finding in json.loads(about.read_text(encoding="utf-8"))["findings"]:
            of_subjects = told.setdefault(finding["check"], {})
            of_subjects.setdefault(subject, []).append(finding["message"])
    for check, of_subjects in told.items():
        subject, messages = next(iter(of_subjects.items()))
        more = f" (and {len(of_subjects) - 1} more subjects)" if len(of_subjects) > 1 else ""
        yield f"{subject}: {check}: {'; '.join(messages)}{more}"
