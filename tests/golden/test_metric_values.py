"""Metrics of masks that are simple enough to be worked out by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from crossfold.evaluation.metrics import StructureMetrics, measure_structure

SINGLE_PRECISION = 1e-6


def box_mask(shape: tuple[int, int, int], *sides: slice) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[sides] = True
    return mask


def measure(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    nsd_tolerance_mm: float = 1.0,
) -> StructureMetrics:
    return measure_structure(
        reference, prediction, spacing_mm=spacing_mm, nsd_tolerance_mm=nsd_tolerance_mm
    )


# A cube of 4 x 4 x 4 voxels of 1 x 2 x 5 mm (0.01 ml each), and the same cube one voxel further
# along z. Either has 64 voxels, 64 - 2 x 2 x 2 = 56 of them on its surface; 4 x 4 x 3 are shared.
#
# From the reference's surface (z = 2 to 5) to the prediction's (z = 3 to 6):
#   z = 2, the lower cap: 16 voxels; the prediction's lower cap is one slice above   16 x 5 mm
#   z = 3, the rim: 12 voxels; the prediction has its full lower cap here            12 x 0 mm
#   z = 4, the rim: 12 voxels, on the prediction's rim                               12 x 0 mm
#   z = 5, the upper cap: the rim on the prediction's rim                            12 x 0 mm
#                         the 2 x 2 inside it: the rim is next door along x           4 x 1 mm
# The way back is the mirror image.
CUBE = box_mask((12, 12, 12), slice(2, 6), slice(2, 6), slice(2, 6))
CUBE_SHIFTED_ALONG_Z = np.roll(CUBE, 1, axis=2)
CUBE_SPACING_MM = (1.0, 2.0, 5.0)


def test_shifted_cube_overlap_and_volumes() -> None:
    metrics = measure(CUBE, CUBE_SHIFTED_ALONG_Z, CUBE_SPACING_MM)
    assert metrics.state == "ok"
    assert metrics.dice == pytest.approx(2 * 48 / (64 + 64))
    assert metrics.iou == pytest.approx(48 / 80)
    assert metrics.volume_ref_ml == pytest.approx(0.64)
    assert metrics.volume_pred_ml == pytest.approx(0.64)
    assert metrics.volume_diff_ml == 0
    assert metrics.volume_diff_pct == 0
    assert metrics.fp_volume_ml == pytest.approx(0.16)
    assert metrics.fn_volume_ml == pytest.approx(0.16)


def test_shifted_cube_distances() -> None:
    metrics = measure(CUBE, CUBE_SHIFTED_ALONG_Z, CUBE_SPACING_MM)
    assert metrics.hd_mm == pytest.approx(5, rel=SINGLE_PRECISION)
    # Position 0.95 x 55 = 52.25 of 56 sorted values, of which the last 16 are 5 mm.
    assert metrics.hd95_mm == pytest.approx(5, rel=SINGLE_PRECISION)
    assert metrics.assd_mm == pytest.approx((16 * 5 + 4 * 1) / 56, rel=SINGLE_PRECISION)


@pytest.mark.parametrize(
    ("tolerance_mm", "voxels_within"), [(0.0, 36), (0.99, 36), (1.0, 40), (4.99, 40), (5.0, 56)]
)
def test_shifted_cube_surface_dice(tolerance_mm: float, voxels_within: int) -> None:
    metrics = measure(CUBE, CUBE_SHIFTED_ALONG_Z, CUBE_SPACING_MM, tolerance_mm)
    assert metrics.nsd == pytest.approx(voxels_within / 56)


def test_cube_shifted_along_x() -> None:
    # As above, but the 2 x 2 inside the far cap is nearest to the prediction's far cap, 1 mm away
    # along x; so is the near cap: 20 voxels at 1 mm, 36 at 0 mm.
    metrics = measure(CUBE, np.roll(CUBE, 1, axis=0), CUBE_SPACING_MM, 0.5)
    assert metrics.hd_mm == pytest.approx(1, rel=SINGLE_PRECISION)
    assert metrics.assd_mm == pytest.approx(20 / 56, rel=SINGLE_PRECISION)
    assert metrics.nsd == pytest.approx(36 / 56)


def test_spacing_that_is_no_binary_fraction_counts_as_within_an_equal_tolerance() -> None:
    metrics = measure(CUBE, np.roll(CUBE, 1, axis=0), (0.7, 9.0, 9.0), 0.7)
    assert metrics.nsd == 1


def test_row_and_its_first_voxel_tell_the_definitions_apart() -> None:
    # A row of 11 voxels, all of them surface, and a prediction of its first voxel alone. From the
    # reference: 0, 1, ..., 10 mm, with the 95th percentile at position 0.95 x 10 = 9.5; back: 0 mm.
    # Other conventions give HD95 9.45 (pooled) or 4.75 (mean of both), ASSD 2.5 (mean of both).
    row = np.ones((11, 1, 1), dtype=bool)
    metrics = measure(row, box_mask((11, 1, 1), slice(0, 1)))
    assert metrics.dice == pytest.approx(2 * 1 / 12)
    assert metrics.hd_mm == pytest.approx(10, rel=SINGLE_PRECISION)
    assert metrics.hd95_mm == pytest.approx(9.5, rel=SINGLE_PRECISION)
    assert metrics.assd_mm == pytest.approx(55 / 12, rel=SINGLE_PRECISION)
    assert metrics.nsd == pytest.approx((2 + 1) / 12)
    assert metrics.volume_diff_pct == pytest.approx(-100 * 10 / 11)


def test_single_voxels_apart() -> None:
    # One voxel of 3 mm along x and two of 2 mm along y: the hypotenuse of 3 and 4.
    reference = box_mask((5, 5, 5), slice(1, 2), slice(1, 2), slice(1, 2))
    prediction = box_mask((5, 5, 5), slice(2, 3), slice(3, 4), slice(1, 2))
    metrics = measure(reference, prediction, (3.0, 2.0, 1.0), 4.9)
    assert (metrics.state, metrics.dice, metrics.iou, metrics.nsd) == ("ok", 0, 0, 0)
    distances = [metrics.hd_mm, metrics.hd95_mm, metrics.assd_mm]
    assert distances == pytest.approx([5, 5, 5], rel=SINGLE_PRECISION)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 3)])
def test_full_masks_agree(shape: tuple[int, int, int]) -> None:
    full = np.ones(shape, dtype=bool)
    metrics = measure(full, full, nsd_tolerance_mm=0)
    assert (metrics.dice, metrics.iou, metrics.nsd) == (1, 1, 1)
    assert (metrics.hd_mm, metrics.hd95_mm, metrics.assd_mm) == (0, 0, 0)


def test_surface_is_closed_where_the_image_cuts_it() -> None:
    # The reference fills an image of 4 x 4 x 4 voxels: 56 on its surface, as outside is background.
    # The prediction lacks the last slice along x: 48 voxels, 48 - 1 x 2 x 2 = 44 on its surface.
    # From the reference: the 16 voxels of the last slice are 1 mm from the prediction's last one.
    # Back: of the prediction's last slice, the 2 x 2 inside are 1 mm from the reference's last one.
    full = np.ones((4, 4, 4), dtype=bool)
    metrics = measure(full, box_mask((4, 4, 4), slice(0, 3)), nsd_tolerance_mm=0.5)
    assert metrics.hd_mm == pytest.approx(1, rel=SINGLE_PRECISION)
    # Positions 52.25 of 56 with 40 zeros, 40.85 of 44 with 40 zeros.
    assert metrics.hd95_mm == pytest.approx(1, rel=SINGLE_PRECISION)
    assert metrics.assd_mm == pytest.approx((16 + 4) / (56 + 44), rel=SINGLE_PRECISION)
    assert metrics.nsd == pytest.approx((40 + 40) / (56 + 44))


NOTHING = np.zeros_like(CUBE)


def test_missed_structure() -> None:
    metrics = measure(CUBE, NOTHING, CUBE_SPACING_MM)
    assert metrics == StructureMetrics(
        state="missed",
        dice=0,
        iou=0,
        nsd=0,
        nsd_tolerance_mm=1,
        hd_mm=np.inf,
        hd95_mm=np.inf,
        assd_mm=np.inf,
        volume_ref_ml=pytest.approx(0.64),
        volume_pred_ml=0,
        volume_diff_ml=pytest.approx(-0.64),
        volume_diff_pct=-100,
        fp_volume_ml=0,
        fn_volume_ml=pytest.approx(0.64),
        n_components_ref=1,
        n_components_pred=0,
    )


def test_hallucinated_structure() -> None:
    metrics = measure(NOTHING, CUBE, CUBE_SPACING_MM)
    assert metrics == StructureMetrics(
        state="hallucinated",
        dice=0,
        iou=0,
        nsd=0,
        nsd_tolerance_mm=1,
        hd_mm=np.inf,
        hd95_mm=np.inf,
        assd_mm=np.inf,
        volume_ref_ml=0,
        volume_pred_ml=pytest.approx(0.64),
        volume_diff_ml=pytest.approx(0.64),
        volume_diff_pct=np.inf,
        fp_volume_ml=pytest.approx(0.64),
        fn_volume_ml=0,
        n_components_ref=0,
        n_components_pred=1,
    )


def test_truly_absent_structure() -> None:
    metrics = measure(NOTHING, NOTHING)
    assert metrics.state == "true_absent"
    undefined = [metrics.dice, metrics.iou, metrics.nsd, metrics.volume_diff_pct]
    assert np.isnan([*undefined, metrics.hd_mm, metrics.hd95_mm, metrics.assd_mm]).all()
    assert metrics.fp_volume_ml == metrics.fn_volume_ml == metrics.volume_diff_ml == 0
    assert metrics.n_components_ref == metrics.n_components_pred == 0


def test_components_that_share_a_corner_are_one() -> None:
    corner = box_mask((6, 6, 6), slice(0, 2), slice(0, 2), slice(0, 2))
    touching = corner | box_mask((6, 6, 6), slice(2, 3), slice(2, 3), slice(2, 3))
    apart = corner | box_mask((6, 6, 6), slice(3, 4), slice(3, 4), slice(3, 4))
    metrics = measure(touching, apart)
    assert (metrics.n_components_ref, metrics.n_components_pred) == (1, 2)
