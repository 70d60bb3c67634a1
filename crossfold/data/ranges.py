"""What the images of the training subjects were like: the ranges that a model knows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crossfold.config.base import Section
from crossfold.data.dataset import Dataset
from crossfold.images import ras_geometry, read_header

PerAxis = tuple[float, float, float]
Range = tuple[float, float]


class IntensityRange(Section):
    """Intensities of one channel, before normalisation: lowest and highest over the subjects."""

    percentile_0_1: Range
    """Of the 0.1st percentile of an image."""
    median: Range
    """Of the median of an image."""
    percentile_99_9: Range
    """Of the 99.9th percentile of an image."""


class TrainingRanges(Section):
    """Smallest and largest over the training subjects, along right, anterior, superior."""

    spacing_mm: tuple[PerAxis, PerAxis]
    """Voxel size of the source images."""
    shape: tuple[tuple[int, int, int], tuple[int, int, int]]
    """Voxels of the source images."""
    extent_mm: tuple[PerAxis, PerAxis]
    """Field of view."""
    intensities: dict[str, IntensityRange]
    """By channel, on the training grid."""


def training_ranges(
    dataset: Dataset, histograms: pd.DataFrame, *, subjects: Sequence[str], images: Sequence[str]
) -> TrainingRanges:
    """Look up the ranges of the training subjects; of their images, headers alone are read.

    Parameters
    ----------
    dataset
        Where the images are.
    histograms
        As `preprocess_dataset` writes them to intensities.csv.
    subjects
        Training subjects.
    images
        Channels; the geometry is that of the first.
    """
    geometry = [ras_geometry(read_header(dataset.path(subject, images[0]))) for subject in subjects]
    shapes = np.array([shape for shape, _ in geometry])
    spacings_mm = np.array([spacing_mm for _, spacing_mm in geometry])
    chosen = histograms["subject"].isin(subjects) & (histograms["stage"] == "before")
    by_channel = histograms[chosen].groupby("channel", sort=False)
    return TrainingRanges(
        spacing_mm=_range(spacings_mm),
        shape=_range(shapes),
        extent_mm=_range(shapes * spacings_mm),
        intensities={channel: _intensities(by_channel.get_group(channel)) for channel in images},
    )


def _intensities(histograms: pd.DataFrame) -> IntensityRange:
    """Read the range off histograms, which go from the 0.1st to the 99.9th percentile."""
    by_subject = histograms.groupby("subject", sort=False)
    medians = np.array([_median(rows) for _, rows in by_subject])
    return IntensityRange(
        percentile_0_1=_range(by_subject["low"].min().to_numpy()),
        median=_range(medians),
        percentile_99_9=_range(by_subject["high"].max().to_numpy()),
    )


def _median(rows: pd.DataFrame) -> float:
    edges = np.append(rows["low"], rows["high"].iloc[-1])
    shares = np.append(0, np.cumsum(rows["density"] * (rows["high"] - rows["low"])))
    return float(np.interp(shares[-1] / 2, shares, edges))


def _range(values: np.ndarray) -> tuple:
    """Return smallest and largest along the first axis, to six digits and as plain numbers."""
    both = [values.min(axis=0), values.max(axis=0)]
    if values.dtype.kind == "f":
        both = [
            np.array([float(f"{v:.6g}") for v in np.atleast_1d(b)]).reshape(b.shape) for b in both
        ]
    low, high = (b.tolist() for b in both)
    return low, high
