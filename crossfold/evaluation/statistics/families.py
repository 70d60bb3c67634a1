"""Correction of the p-values of a family of comparisons."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.multitest import multipletests


def adjust(
    p: Sequence[float] | NDArray[np.float64], method: Literal["holm", "fdr_bh"]
) -> NDArray[np.float64]:
    """Adjust p-values for being several.

    Parameters
    ----------
    p
        Those of one family. NaN, a comparison that could not be made, stays NaN and is not counted.
    method
        `holm`: none of the family is false, with probability 1 - alpha (Holm, Scandinavian Journal
        of Statistics 1979). `fdr_bh`: few of those that are called significant are false (Benjamini
        and Hochberg, Journal of the Royal Statistical Society B 1995).

    Returns
    -------
    NDArray
        In the order of p.
    """
    adjusted = np.array(p, dtype=float)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = multipletests(adjusted[known], method=method)[1]
    return adjusted
