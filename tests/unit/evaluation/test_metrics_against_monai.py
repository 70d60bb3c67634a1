"""Where MONAI follows the same conventions, it has to give the same numbers."""

import numpy as np
import pytest
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_iou,
    compute_surface_dice,
)
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.evaluation.metrics import measure_structure

SPACING_MM = (0.8, 1.25, 3.0)
# Either may use single precision for distances, of up to 40 mm here.
TOLERANCE = 1e-5


def random_blobs(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two similar masks of several components, some of them cut by the border."""
    generator = np.random.default_rng(seed)
    anatomy, error = ndimage.gaussian_filter(
        generator.normal(size=(2, 24, 20, 12)), sigma=(0, 3, 3, 1.5)
    )
    return anatomy > 0.02, anatomy + 0.4 * error > 0.02


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("nsd_tolerance_mm", [0.0, 1.0, 4.0])
def test_same_as_monai(seed: int, nsd_tolerance_mm: float) -> None:
    reference, prediction = random_blobs(seed)
    ours = measure_structure(
        reference, prediction, spacing_mm=SPACING_MM, nsd_tolerance_mm=nsd_tolerance_mm
    )
    assert 0.5 < ours.dice < 0.99
    predicted, expected = (
        torch.from_numpy(np.stack([~mask, mask]))[None].float() for mask in (prediction, reference)
    )
    distance = {"include_background": False, "spacing": SPACING_MM}
    monai = {
        "dice": compute_dice(predicted, expected, include_background=False),
        "iou": compute_iou(predicted, expected, include_background=False),
        "nsd": compute_surface_dice(predicted, expected, [nsd_tolerance_mm], **distance),
        "hd_mm": compute_hausdorff_distance(predicted, expected, **distance),
        "hd95_mm": compute_hausdorff_distance(predicted, expected, percentile=95, **distance),
        "assd_mm": compute_average_surface_distance(
            predicted, expected, symmetric=True, **distance
        ),
    }
    for name, value in monai.items():
        assert getattr(ours, name) == pytest.approx(float(value), abs=TOLERANCE), name
