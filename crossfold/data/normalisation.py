"""Intensities: the methods under `preprocessing.normalisation`, and what they do to a histogram."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.preprocessing import (
    AnyNormalisation,
    CtWindow,
    MriWindow,
    PercentileRange,
    TrimmedRange,
    Unchanged,
    ZScore,
)

OTSU_BINS = 256
HISTOGRAM_BINS = 64
HISTOGRAM_COLUMNS = ["subject", "channel", "stage", "low", "high", "density"]
# Beyond these lie a few voxels of metal or noise, and most of the width of a histogram.
_HISTOGRAM_PERCENTILES = (0.1, 99.9)
# Interquartile range of a normal distribution, in standard deviations.
_IQR_OF_NORMAL = 1.349


def normalise(
    array: NDArray[np.float32], method: AnyNormalisation, mask: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Normalise the intensities of an image.

    Parameters
    ----------
    array
        (x, y, z).
    method
        One of the sections under `preprocessing.normalisation`.
    mask
        (x, y, z): the voxels from which `z_score`, `percentile` and `trimmed` take their numbers;
        None: all. The windows do not ask for it.

    Raises
    ------
    ValueError
        If no voxel lies in the mask.
    """
    inside = array if mask is None else array[mask]
    if not inside.size:
        raise ValueError("no voxel lies in the mask")
    match method:
        case Unchanged():
            scaled = array
        case CtWindow(level=level, window=window):
            low, high = level - window / 2, level + window / 2
            scaled = _to_range((array.clip(low, high) - low) / window, method.output_range)
        case PercentileRange(percentiles=percentiles):
            low, high = np.percentile(inside, percentiles)
            scaled = _map(array, low, high, method.output_range)
        case MriWindow():
            scaled = _mri_window(array, method)
        case TrimmedRange():
            low, high = _trimmed_range(inside, method)
            scaled = _map(array, low, high, method.output_range)
            if mask is not None:
                scaled = np.where(mask, scaled, method.output_range[0])
        case ZScore(clip_percentiles=percentiles):
            if percentiles is not None:
                limits = np.percentile(inside, percentiles)
                array = array.clip(*limits)
                inside = array if mask is None else array[mask]
            mean, deviation = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
            scaled = (array - mean) / max(deviation, 1e-8)
    return scaled.astype(np.float32, copy=False)


def _map(array: NDArray, low: float, high: float, output_range: tuple[float, float]) -> NDArray:
    """Map [low, high] linearly to a range and clip."""
    return _to_range((array.clip(low, high) - low) / max(high - low, 1e-8), output_range)


def _to_range(unit: NDArray, output_range: tuple[float, float]) -> NDArray:
    lowest, highest = output_range
    return unit * (highest - lowest) + lowest


def _mri_window(array: NDArray[np.float32], method: MriWindow) -> NDArray:
    """Map the bulk of the tissue, which Otsu's threshold tells from air, to a range.

    InnerEye's MriWindow: with median L and robust deviation s of the voxels above the threshold T,
    from max(L - sharpen s, T) to min(maximum, L + tail sharpen s); voxels below T become 0 first.
    """
    threshold = otsu_threshold(array)
    tissue = array[array > threshold]
    if not tissue.size:  # an image of one value
        return np.full(array.shape, method.output_range[0], dtype=np.float32)
    median, deviation = _median_and_deviation(tissue)
    low = max(median - method.sharpen * deviation, threshold)
    high = min(float(tissue.max()), median + method.tail * method.sharpen * deviation)
    return _map(np.where(array < threshold, 0, array), low, high, method.output_range)


def _trimmed_range(inside: NDArray[np.float32], method: TrimmedRange) -> tuple[float, float]:
    """Return the range of InnerEye's TrimmedNorm: median -+ sharpen robust deviations."""
    lowest, highest = np.percentile(inside, method.percentiles)
    kept = inside[(inside > lowest) & (inside < highest)]
    if not kept.size:  # an image of one or two values
        kept = inside
    median, deviation = _median_and_deviation(kept)
    reach = method.sharpen * deviation
    return max(median - reach, float(kept.min())), min(median + reach, float(kept.max()))


def _median_and_deviation(values: NDArray[np.float32]) -> tuple[float, float]:
    first, median, third = np.percentile(values, (25, 50, 75))
    return float(median), float(third - first) / _IQR_OF_NORMAL


def otsu_threshold(array: NDArray, bins: int = OTSU_BINS) -> float:
    """Return the threshold that parts an image into two classes (Otsu 1979).

    The centre of the bin of a histogram after which the variance between the classes is largest,
    the first of them where several are: what scikit-image's `threshold_otsu` returns for an array
    of floats. MONAI offers no threshold of its own, it calls that function.

    Parameters
    ----------
    array
        Intensities of any shape.
    bins
        Bins of the histogram, from the smallest value to the largest.

    References
    ----------
    Otsu 1979, IEEE Trans Syst Man Cybern 9(1):62-66, doi 10.1109/TSMC.1979.4310076
    """
    if array.min() == array.max():
        return float(array.min())
    counts, edges = np.histogram(array, bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    mean_below = np.cumsum(counts * centres) / below
    mean_above = (np.cumsum((counts * centres)[::-1]) / above[::-1])[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(centres[between.argmax()])


def histogram(array: NDArray) -> pd.DataFrame:
    """Return the histogram of an image: columns low, high, density; the area is about 1."""
    array = np.asarray(array, dtype=np.float64)  # a float16 cannot hold the number of voxels
    low, high = np.percentile(array, _HISTOGRAM_PERCENTILES).tolist()
    if low == high:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(array, HISTOGRAM_BINS, (low, high))
    density = counts / (array.size * np.diff(edges))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "density": density})
