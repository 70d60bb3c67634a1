"""What posteriors and segmentations tell beyond metrics.csv, in one pass over the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.labels import label_values
from crossfold.config.metrics import MetricsConfig
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.calibration import (
    BAND_MM,
    Reliability,
    VolumeInterval,
    count_bytes,
    mean_entropy,
)
from crossfold.evaluation.inspection import (
    dice_swapped,
    mirror_partners,
    remote_component_mm,
    touches_border,
)
from crossfold.evaluation.mask_pairs import LabelMapPair, MaskPair
from crossfold.evaluation.nsd_curve import nsd_curve
from crossfold.images import POSTERIOR_SCALE, Image, read_labels, read_posterior
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file

Row = dict[str, Any]

_KEYS = ["model", "split", "fold", "subject", "structure"]
COLUMNS = {
    "nsd_curve": [*_KEYS, "state", "tolerance_mm", "nsd"],
    "calibration_bins": [
        *_KEYS,
        *("bin_low", "bin_high", "n_voxels", "mean_confidence", "frequency"),
    ],
    "posteriors": [
        *(*_KEYS, "dice", "brier", "ece", "ace", "uncertainty", "volume_ref_ml"),
        *("volume_expected_ml", "volume_low_ml", "volume_high_ml", "in_interval", "n_band_voxels"),
    ],
    "inspection": [
        *_KEYS,
        *("touches_border", "remote_component_mm", "dice_swapped", "partner"),
    ],
}
"""Columns of each table."""


@dataclass(frozen=True)
class Source:
    """Where predictions of some subjects lie.

    Parameters
    ----------
    split, fold
        val and a number for the out-of-fold predictions of a fold, test and `ensemble`.
    subjects
        Whom to measure.
    posteriors, segmentations
        Directories of `<subject>.nii.gz`.
    """

    split: str
    fold: str
    subjects: Sequence[str]
    posteriors: Path
    segmentations: Path


@dataclass(frozen=True)
class PosteriorMeasurement:
    """What is measured.

    Parameters
    ----------
    model
        Name of the run.
    structures
        Structures of the dataset, in the order of their labels and of the posteriors.
    labels
        Label values of structures and derived structures.
    config
        Section `metrics`.
    partners
        The structure on the other side, of those that have one.
    """

    model: str
    structures: tuple[str, ...]
    labels: Mapping[str, Sequence[int]]
    config: MetricsConfig
    partners: Mapping[str, str]

    @classmethod
    def from_params(cls, run: str, params: Any) -> PosteriorMeasurement:
        """Build a measurement from the parameters of a rule.

        Parameters
        ----------
        run
            Model, or model and epoch.
        params
            `model` (sections structures, derived_structures and metrics) and `mirror_pairs`.
        """
        model = params.model
        labels = label_values(model["structures"], model["derived_structures"])
        return cls(
            run,
            tuple(model["structures"]),
            labels,
            MetricsConfig(**model["metrics"]),
            mirror_partners(labels, params.mirror_pairs),
        )

    def tolerances_mm(self, structure: str) -> list[float]:
        """Tolerances of the curve and of metrics.csv, rising."""
        return sorted({*self.config.nsd_curve_mm, self.config.tolerance_of(structure)})


def measure_posteriors(
    dataset: Dataset,
    sources: Sequence[Source],
    measurement: PosteriorMeasurement,
    *,
    workers: int = 1,
) -> dict[str, pd.DataFrame]:
    """Measure posteriors and segmentations against the contours, on the source grid.

    Parameters
    ----------
    dataset
        Where the contours are.
    sources
        Folds on their validation subjects and, if there is a test set, the ensemble.
    measurement
        What is measured.
    workers
        Number of processes.

    Returns
    -------
    dict
        The tables `nsd_curve`, `calibration_bins`, `posteriors` and `inspection`, with `COLUMNS`
        and rows in the order of sources, subjects and structures; docs/metrics.md defines them.

    Raises
    ------
    CrossfoldError
        If a file is missing, or lies on another grid than the contours.
    """
    todo = [(source, subject) for source in sources for subject in source.subjects]
    work = partial(_measure_subject, dataset=dataset, measurement=measurement)
    measured = map_subjects(work, todo, workers=workers, title="measure posteriors")
    return {
        table: pd.DataFrame([row for rows in measured for row in rows[table]], columns=columns)
        for table, columns in COLUMNS.items()
    }


def _measure_subject(
    todo: tuple[Source, str], *, dataset: Dataset, measurement: PosteriorMeasurement
) -> dict[str, list[Row]]:
    """Return the rows of one subject for each table."""
    source, subject = todo
    reference = dataset.label_map(subject, measurement.structures)
    file = subject_file(source.segmentations, subject)
    segmentation = read_labels(file)
    _check_grid(reference, segmentation, file, subject)
    file = subject_file(source.posteriors, subject)
    posterior = read_posterior(file)
    _check_grid(reference, posterior, file, subject, len(measurement.structures))
    # Files are in Fortran order: transposed, everything is in the order that scipy is fast in.
    maps = LabelMapPair(
        np.asfortranarray(reference.array).T,
        segmentation.array.T,
        measurement.labels,
        reference.spacing_mm[::-1],
    )
    rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}
    for structure in measurement.labels:
        values = (measurement.model, source.split, source.fold, subject, structure)
        keys = dict(zip(_KEYS, values, strict=True))
        found = _measure_structure(
            structure, maps, posterior.array.T, reference.voxel_volume_ml, measurement
        )
        for table, of_table in found.items():
            rows[table] += [{**keys, **row} for row in of_table]
    return rows


def _measure_structure(
    structure: str,
    maps: LabelMapPair,
    posterior: NDArray[np.uint8],
    voxel_volume_ml: float,
    measurement: PosteriorMeasurement,
) -> dict[str, list[Row]]:
    """Return the rows of one structure for each table, without their keys."""
    masks = maps.pair(structure, margin_mm=BAND_MM)
    probability = _add_parts([posterior[value - 1] for value in maps.labels[structure]])
    reliability, uncertainty = _measure_band(masks, probability[masks.box])
    tolerances_mm = measurement.tolerances_mm(structure)
    partner = measurement.partners.get(structure, "")
    return {
        "nsd_curve": [
            {"state": masks.state, "tolerance_mm": tolerance_mm, "nsd": nsd}
            for tolerance_mm, nsd in zip(
                tolerances_mm, nsd_curve(masks, tolerances_mm), strict=True
            )
        ],
        "calibration_bins": reliability.bins(),
        "posteriors": [
            {
                "dice": masks.dice,
                "brier": reliability.brier,
                "ece": reliability.ece,
                "ace": reliability.ace,
                "uncertainty": uncertainty,
                **_measure_volume(masks, count_bytes(probability), voxel_volume_ml),
                "n_band_voxels": reliability.n_voxels,
            }
        ],
        "inspection": [
            {
                "touches_border": touches_border(maps, structure),
                "remote_component_mm": remote_component_mm(masks),
                "dice_swapped": dice_swapped(maps, structure, partner) if partner else np.nan,
                "partner": partner,
            }
        ],
    }


def _measure_band(masks: MaskPair, probability: NDArray[np.uint8]) -> tuple[Reliability, float]:
    """Calibration around both surfaces, and uncertainty around the predicted one.

    Uncertainty has to be there before the reference is, if it is to tell which subjects need one.
    An empty prediction is as uncertain as can be: that it is empty needs no reference either.
    """
    of_reference, of_prediction = masks.band(BAND_MM)
    band = of_reference | of_prediction
    reliability = Reliability.measure(probability[band], masks.reference[band])
    if masks.state in ("ok", "hallucinated"):
        return reliability, mean_entropy(count_bytes(probability[of_prediction]))
    return reliability, 1.0 if masks.state == "missed" else np.nan


def _measure_volume(masks: MaskPair, counts: NDArray[np.int64], voxel_volume_ml: float) -> Row:
    """Volume of the reference, and what the posterior says about it."""
    reference_ml = int(np.count_nonzero(masks.reference)) * voxel_volume_ml
    interval = VolumeInterval.measure(counts, voxel_volume_ml)
    return {
        "volume_ref_ml": reference_ml,
        "volume_expected_ml": interval.expected,
        "volume_low_ml": interval.low,
        "volume_high_ml": interval.high,
        # An absent structure that nobody predicts would be in any interval from 0.
        "in_interval": np.nan if masks.state == "true_absent" else interval.holds(reference_ml),
    }


def _add_parts(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Posterior of a union: structures exclude each other, so that probabilities add up."""
    if len(parts) == 1:
        return parts[0]
    total = reduce(np.add, parts[1:], parts[0].astype(np.uint16))
    # Each part is rounded, and their sum may be a little more than 1.
    return np.minimum(total, POSTERIOR_SCALE).astype(np.uint8)


def _check_grid(
    reference: Image, image: Image, file: Path, subject: str, n_channels: int | None = None
) -> None:
    channels = () if n_channels is None else (n_channels,)
    same_shape = image.array.shape == (*reference.array.shape, *channels)
    if not same_shape or not np.allclose(reference.affine, image.affine, atol=1e-3):
        what = f" with {n_channels} structures" if n_channels else ""
        raise CrossfoldError(
            f"{file}: not on the grid of the contours of subject `{subject}`{what}",
            remedy="delete it, so that the next run predicts the subject again",
        )
