"""Everything that can be wrong with a dataset, found before the first job trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from crossfold.config.base import nearest
from crossfold.config.checks import ChecksConfig
from crossfold.data.dataset import Row, read_table, rows_of
from crossfold.data.dataset_report import DatasetReport, read_report, require_usable
from crossfold.data.subject_checks import Problem, SubjectFindings, inspect_subject
from crossfold.parallel import map_subjects

__all__ = ["DatasetReport", "read_report", "require_usable", "validate_dataset"]


def validate_dataset(
    dataset_csv: Path,
    *,
    images: Sequence[str],
    structures: Sequence[str],
    mask: str | None = None,
    checks: ChecksConfig,
    workers: int,
) -> DatasetReport:
    """Check every subject of a dataset; each file is read once, and all problems are collected.

    Parameters
    ----------
    dataset_csv
        The dataset's table, beside the folder of its images.
    images, structures
        Channels that a model needs.
    mask
        Channel of the inside of the body, where a model has one.
    checks
        How strict to be.
    workers
        Number of processes; 1 reads in this one.

    Returns
    -------
    DatasetReport
        Every subject with its problems, and the problems of the dataset as a whole.

    Raises
    ------
    CrossfoldError
        If dataset.csv itself is missing or malformed.
    """
    table = read_table(dataset_csv)
    subjects = list(dict.fromkeys(table["subject"]))
    named = {*images, *structures}
    read_as_images = [*images, *([mask] if mask and mask not in named else [])]
    problems = list(_dataset_problems(table, [*read_as_images, *structures]))
    known = set(table["channel"])
    inspect = partial(
        inspect_subject,
        folder=dataset_csv.parent,
        images=[channel for channel in read_as_images if channel in known],
        structures=[channel for channel in structures if channel in known],
        checks=checks,
    )
    rows_of_subject: dict[str, list[Row]] = {subject: [] for subject in subjects}
    for row in rows_of(table):
        rows_of_subject[row["subject"]].append(row)
    findings = map_subjects(
        inspect, rows_of_subject, rows_of_subject.values(), workers=workers, title="check"
    )
    problems += _absent_structures(findings, structures)
    for finding in findings:
        problems += finding.problems
    problems += _duplicate_images(findings, images)
    problems += _spacing_outliers(findings, checks.spacing_factor)
    return DatasetReport(tuple(subjects), tuple(problems), checks.on_problem)


def _dataset_problems(table: pd.DataFrame, channels: list[str]) -> Iterator[Problem]:
    if table.empty:
        yield Problem("", "error", "no_subjects", "", "", "dataset.csv has no rows")
        return
    known = list(table["channel"].unique())
    for channel in channels:
        if channel not in known:
            message = f"no row has the channel `{channel}`; {nearest(channel, known)}"
            yield Problem("", "error", "unknown_channel", channel, "", message)


def _absent_structures(
    findings: Sequence[SubjectFindings], structures: Sequence[str]
) -> Iterator[Problem]:
    for structure in structures:
        empty = sum(structure in finding.empty for finding in findings)
        if empty and not any(structure in finding.present for finding in findings):
            message = f"has no voxel in any of {empty} subjects"
            yield Problem("", "error", "absent_structure", structure, "", message)


def _duplicate_images(
    findings: Sequence[SubjectFindings], images: Sequence[str]
) -> Iterator[Problem]:
    """Report the later subject of each pair that shares an image, so that the first stays.

    Masks may well be the same.
    """
    first_subject: dict[str, str] = {}
    for finding in findings:
        for channel, digest in finding.image_digests.items():
            if channel not in images:
                continue
            first = first_subject.setdefault(digest, finding.subject)
            if first != finding.subject:
                message = f"the voxels are the same as those of subject {first}"
                yield Problem(finding.subject, "error", "duplicate_image", channel, "", message)


def _spacing_outliers(findings: Sequence[SubjectFindings], factor: float) -> Iterator[Problem]:
    spacings = {
        finding.subject: finding.spacing_mm
        for finding in findings
        if finding.spacing_mm is not None
    }
    if not spacings:
        return
    median = np.median(list(spacings.values()), axis=0)
    for subject, spacing in spacings.items():
        if (np.maximum(spacing / median, median / spacing) > factor).any():
            message = f"voxels of {_mm(spacing)}, the dataset's median is {_mm(median)}"
            yield Problem(subject, "warning", "unusual_spacing", "", "", message)


def _mm(spacing: np.ndarray) -> str:
    return " × ".join(f"{size:.3g}" for size in spacing) + " mm"
