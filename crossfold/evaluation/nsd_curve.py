"""Normalised surface Dice at many tolerances, from one set of surface distances.

The measure is that of Nikolov et al. (J Med Internet Res 2021, doi 10.2196/26151). Its curve tells
what a single tolerance hides: whether two surfaces differ a little everywhere or a lot somewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossfold.evaluation.mask_pairs import MaskPair
from crossfold.evaluation.metrics import ROUNDING


def nsd_curve(masks: MaskPair, tolerances_mm: Sequence[float]) -> NDArray[np.float64]:
    """Share of the surface voxels of both masks within each tolerance of the other surface.

    At `metrics.nsd_tolerance_mm` it is the `nsd` of metrics.csv.

    Parameters
    ----------
    masks
        A structure in reference and segmentation.
    tolerances_mm
        In any order; a distance equal to one counts as within.

    Returns
    -------
    numpy.ndarray
        One value per tolerance: 0 throughout where one of the masks is empty, NaN where both are.
    """
    if masks.state == "true_absent":
        return np.full(len(tolerances_mm), np.nan)
    distances = np.sort(masks.surface_distances_mm)
    within = np.searchsorted(distances, np.multiply(tolerances_mm, ROUNDING), side="right")
    return within / max(len(distances), 1)
