"""Measuring the segmentations of a directory against the contours of their dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crossfold.config.labels import label_values
from crossfold.config.metrics import MetricsConfig
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.metrics import measure_label_maps
from crossfold.evaluation.tables import METRICS_COLUMNS
from crossfold.images import read_labels
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file


@dataclass(frozen=True)
class Measurement:
    """What is measured, and what every row of the table says about it.

    Parameters
    ----------
    structures
        Structures of the dataset, in the order of their labels.
    labels
        Label values of structures and derived structures.
    config
        Section `metrics`.
    constants
        Columns that are the same in every row: model, dataset, synthetic, split, fold, seed.
    """

    structures: tuple[str, ...]
    labels: Mapping[str, Sequence[int]]
    config: MetricsConfig
    constants: Mapping[str, Any]

    @classmethod
    def from_params(cls, run: str, params: Any, split: str, fold: str) -> Measurement:
        """Build a measurement from the parameters of a rule.

        Parameters
        ----------
        run
            Model, or model and epoch.
        params
            `model` (sections structures, derived_structures, metrics and dataset), `synthetic`
            and `seed`.
        split
            val or test.
        fold
            Number of the fold, or `ensemble`.
        """
        model = params.model
        return cls(
            tuple(model["structures"]),
            label_values(model["structures"], model["derived_structures"]),
            MetricsConfig(**model["metrics"]),
            {
                "model": run,
                "dataset": model["dataset"],
                "synthetic": params.synthetic,
                "split": split,
                "fold": fold,
                "seed": params.seed,
            },
        )


def measure_segmentations(
    dataset: Dataset,
    segmentations: Path,
    subjects: Sequence[str],
    measurement: Measurement,
    *,
    workers: int = 1,
) -> pd.DataFrame:
    """Compare the segmentation of every subject with its contours, on the source grid.

    Parameters
    ----------
    dataset
        Where the contours are.
    segmentations
        Directory of `<subject>.nii.gz`.
    subjects
        Subjects to measure.
    measurement
        What is measured.
    workers
        Number of processes.

    Returns
    -------
    pandas.DataFrame
        One row per subject and structure, columns `METRICS_COLUMNS`.

    Raises
    ------
    CrossfoldError
        If a segmentation is missing or lies on another grid than the contours.
    """
    work = partial(
        _measure_subject, dataset=dataset, segmentations=segmentations, measurement=measurement
    )
    title = f"measure {measurement.constants['split']}"
    measured = map_subjects(work, subjects, workers=workers, title=title)
    rows = [row for rows_of_subject in measured for row in rows_of_subject]
    return pd.DataFrame(rows, columns=METRICS_COLUMNS)


def _measure_subject(
    subject: str, *, dataset: Dataset, segmentations: Path, measurement: Measurement
) -> list[dict[str, Any]]:
    """Return one row per structure of one subject."""
    reference = dataset.label_map(subject, measurement.structures)
    file = subject_file(segmentations, subject)
    prediction = read_labels(file)
    same_grid = reference.array.shape == prediction.array.shape and np.allclose(
        reference.affine, prediction.affine, atol=1e-3
    )
    if not same_grid:
        raise CrossfoldError(
            f"{file}: not on the grid of the contours of subject `{subject}`",
            remedy="delete it, so that the next run predicts the subject again",
        )
    tolerances = {name: measurement.config.tolerance_of(name) for name in measurement.labels}
    measured = measure_label_maps(
        reference.array,
        prediction.array,
        labels=measurement.labels,
        spacing_mm=reference.spacing_mm,
        nsd_tolerance_mm=tolerances,
    )
    about = dataset.metadata.set_index("subject").loc[subject]
    x, y, z = reference.spacing_mm
    common = {
        **measurement.constants,
        "subject": subject,
        "institution": about["institution"],
        "series": about["series"],
        "spacing_x_mm": x,
        "spacing_y_mm": y,
        "spacing_z_mm": z,
    }
    return [{**common, **row} for row in measured]
