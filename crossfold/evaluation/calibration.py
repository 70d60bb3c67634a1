"""How well the probabilities of a structure agree with how often they turn out true.

Posteriors are bytes, so that everything here follows from two histograms of 256 values: how many
voxels have a probability, and how many of these belong to the structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from crossfold.images import POSTERIOR_SCALE

BINS = 10
"""Bins of the reliability diagram and of both calibration errors."""

BAND_MM = 5.0
"""Calibration is measured up to this distance from a surface: over a whole image, background and
core, about which nobody doubts, would hide everything else."""

VOLUME_COVERAGE = 0.95
"""Nominal coverage of the interval of a volume."""

_BYTES = np.arange(POSTERIOR_SCALE + 1)
_PROBABILITY = _BYTES / POSTERIOR_SCALE
_ENTROPY = (entr(_PROBABILITY) + entr(1 - _PROBABILITY)) / np.log(2)
# In integers, because 0.6 * 10 is less than 6 in floating point.
_BIN = np.minimum(_BYTES * BINS // POSTERIOR_SCALE, BINS - 1)


def count_bytes(posterior: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count how often each byte occurs, (256,)."""
    # Zeros are most of an image; counting costs ten times what leaving them out does.
    counts = np.bincount(posterior[posterior > 0], minlength=len(_BYTES))
    counts[0] = posterior.size - counts.sum()
    return counts


def mean_entropy(counts: NDArray[np.int64]) -> float:
    """Mean binary entropy in bits, which lies in [0, 1]; NaN without voxels.

    Parameters
    ----------
    counts
        Voxels by byte of their probability, (256,).
    """
    return float(counts @ _ENTROPY / counts.sum()) if counts.any() else np.nan


@dataclass(frozen=True)
class Reliability:
    """Probabilities of a structure against its reference.

    Parameters
    ----------
    counts
        Voxels by byte of their probability, (256,).
    positives
        Those of them in the reference, (256,).
    """

    counts: NDArray[np.int64]
    positives: NDArray[np.int64]

    @classmethod
    def measure(cls, posterior: NDArray[np.uint8], reference: NDArray[np.bool_]) -> Reliability:
        """Count voxels of a posterior, and those of them in the reference; any equal shapes."""
        return cls(count_bytes(posterior), count_bytes(posterior[reference]))

    @cached_property
    def n_voxels(self) -> int:
        """Voxels that were counted."""
        return int(self.counts.sum())

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and outcome (Brier 1950); NaN without voxels."""
        squared = self.positives * (1 - _PROBABILITY) ** 2
        squared += (self.counts - self.positives) * _PROBABILITY**2
        return self._per_voxel(squared)

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al., AAAI 2015) of the structure's probability.

        Mean over `BINS` bins of equal width of |mean confidence - frequency|, weighted by voxels.
        """
        return self._per_voxel(np.abs(np.bincount(_BIN, self._excess, minlength=BINS)))

    @property
    def ace(self) -> float:
        """Adaptive calibration error (Nixon et al., CVPR workshops 2019).

        As `ece`, but over `BINS` bins of equally many voxels. Voxels of one probability that lie
        on both sides of an edge are shared between the bins in proportion.
        """
        up_to = np.concatenate([[0], np.cumsum(self.counts)])
        excess = np.concatenate([[0], np.cumsum(self._excess)])
        edges = np.linspace(0, self.n_voxels, BINS + 1)
        return self._per_voxel(np.abs(np.diff(np.interp(edges, up_to, excess))))

    def bins(self) -> list[dict[str, float]]:
        """Return the reliability diagram: a mapping for each of `BINS` bins of equal width.

        Returns
        -------
        list of dict
            bin_low, bin_high (which only the last bin includes), n_voxels, mean_confidence and
            frequency; both NaN in a bin without voxels.
        """
        counts, positives, confidence = (
            np.bincount(_BIN, weights, minlength=BINS)
            for weights in (self.counts, self.positives, self.counts * _PROBABILITY)
        )
        with np.errstate(invalid="ignore"):
            means = (confidence / counts).tolist(), (positives / counts).tolist()
        return [
            {
                "bin_low": number / BINS,
                "bin_high": (number + 1) / BINS,
                "n_voxels": int(counts[number]),
                "mean_confidence": means[0][number],
                "frequency": means[1][number],
            }
            for number in range(BINS)
        ]

    @property
    def _excess(self) -> NDArray[np.float64]:
        """Probability minus outcome, summed over the voxels of each byte."""
        return self.counts * _PROBABILITY - self.positives

    def _per_voxel(self, amounts: NDArray[np.float64]) -> float:
        return float(amounts.sum() / self.n_voxels) if self.n_voxels else np.nan


@dataclass(frozen=True)
class VolumeInterval:
    """The volume of a structure as its posterior sees it, in ml."""

    expected: float
    """Sum of the probabilities."""
    low: float
    """Volume of the voxels of probability above 0.975."""
    high: float
    """Volume of the voxels of probability above 0.025."""

    @classmethod
    def measure(cls, counts: NDArray[np.int64], voxel_volume_ml: float) -> VolumeInterval:
        """Interval of nominal coverage `VOLUME_COVERAGE` for the volume of a structure.

        A posterior says how probable each voxel is, not how voxels go together, and the spread of
        their sum is all in that. If they go together as far as they can (the contour is drawn at a
        level U of the posterior, U uniform between 0 and 1), the volume is that of {p > U}: its
        mean is the sum of probabilities and its quantiles are volumes above a threshold. Of all
        ways to go together this one spreads the sum most, in convex order (Kaas et al., ASTIN
        Bulletin 32, 2002); independent voxels would give intervals of next
        to no width. What the interval misses is therefore due to the probabilities.

        Parameters
        ----------
        counts
            Voxels of the whole image by byte of their probability, (256,).
        voxel_volume_ml
            Volume of one voxel.
        """
        tail = (1 - VOLUME_COVERAGE) / 2
        low, high = (counts[level < _PROBABILITY].sum() for level in (1 - tail, tail))
        expected = counts @ _PROBABILITY
        return cls(*(float(number) * voxel_volume_ml for number in (expected, low, high)))

    def holds(self, volume_ml: float) -> bool:
        """Whether a volume lies in the interval, its ends included."""
        # Relative, because both are sums of the same voxels' volumes in a different order.
        return self.low * (1 - 1e-9) <= volume_ml <= self.high * (1 + 1e-9)
