from collections.abc import Mapping

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from crossfold.errors import CrossfoldError
from crossfold.evaluation.metrics import StructureMetrics, measure_label_maps, measure_structure

SPACING_MM = (0.8, 1.25, 3.0)
LABELS = {"peripheral_zone": [1], "central_gland": [2], "whole": [1, 2]}
TOLERANCES_MM = {"peripheral_zone": 1.0, "central_gland": 2.0, "whole": 3.0}
SYMMETRIC = ["dice", "iou", "nsd", "hd_mm", "hd95_mm", "assd_mm"]

shapes = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
mask_pairs = shapes.flatmap(
    lambda shape: st.tuples(*[arrays.arrays(bool, shape, elements=st.booleans())] * 2)
)


def numbers_of(metrics: Mapping[str, object]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def measure(masks: tuple[NDArray, NDArray], spacing_mm: tuple = SPACING_MM) -> StructureMetrics:
    return measure_structure(*masks, spacing_mm=spacing_mm, nsd_tolerance_mm=1.0)


def label_maps(shape: tuple[int, int, int] = (9, 8, 7)) -> tuple[NDArray, NDArray]:
    generator = np.random.default_rng(0)
    return tuple(generator.integers(0, 3, shape, dtype=np.uint8) for _ in range(2))


@given(mask_pairs)
@settings(deadline=None)
def test_agreement_is_symmetric_and_volumes_change_sides(masks: tuple[NDArray, NDArray]) -> None:
    there, back = measure(masks), measure(masks[::-1])
    for name in SYMMETRIC:
        np.testing.assert_allclose(getattr(there, name), getattr(back, name), rtol=1e-12)
    assert there.volume_diff_ml == -back.volume_diff_ml
    assert there.fp_volume_ml == back.fn_volume_ml
    assert there.n_components_ref == back.n_components_pred


@given(mask_pairs, st.permutations(range(3)))
@settings(deadline=None)
def test_axes_may_be_permuted_together_with_the_spacing(
    masks: tuple[NDArray, NDArray], axes: list[int]
) -> None:
    permuted = tuple(np.ascontiguousarray(mask.transpose(axes)) for mask in masks)
    original = numbers_of(vars(measure(masks)))
    same = numbers_of(vars(measure(permuted, tuple(SPACING_MM[axis] for axis in axes))))
    np.testing.assert_allclose(list(same.values()), list(original.values()), rtol=1e-5)


@given(mask_pairs)
@settings(deadline=None)
def test_only_truly_absent_is_undefined_and_only_failures_are_infinite(
    masks: tuple[NDArray, NDArray],
) -> None:
    metrics = measure(masks)
    agreement = np.array([getattr(metrics, name) for name in SYMMETRIC])
    assert np.isnan(agreement).all() == np.isnan(agreement).any() == (not np.any(masks))
    is_failure = metrics.state in ("missed", "hallucinated")
    assert is_failure == (masks[0].any() != masks[1].any())
    assert np.isinf(agreement[3:]).all() == np.isinf(agreement[3:]).any() == is_failure
    if metrics.state == "ok":
        assert 0 <= metrics.assd_mm <= metrics.hd_mm * (1 + 1e-12)
        assert metrics.hd95_mm <= metrics.hd_mm


def test_components_of_a_row_of_single_voxels_are_counted() -> None:
    row = (np.arange(5) % 2 == 0).reshape(1, 1, 5)
    assert measure((row, row)).n_components_ref == 3


@given(mask_pairs)
@settings(deadline=None)
def test_background_around_both_masks_changes_nothing(masks: tuple[NDArray, NDArray]) -> None:
    padded = tuple(np.pad(mask, ((1, 0), (2, 3), (0, 4))) for mask in masks)
    np.testing.assert_equal(numbers_of(vars(measure(padded))), numbers_of(vars(measure(masks))))


def measure_maps(reference: NDArray, prediction: NDArray) -> list[dict[str, object]]:
    return measure_label_maps(
        reference,
        prediction,
        labels=LABELS,
        spacing_mm=SPACING_MM,
        nsd_tolerance_mm=TOLERANCES_MM,
    )


def test_structures_of_label_maps_are_measured_as_masks() -> None:
    reference, prediction = label_maps()
    rows = measure_maps(reference, prediction)
    assert [(row["structure"], row["label"]) for row in rows] == [
        ("peripheral_zone", 1),
        ("central_gland", 2),
        ("whole", None),
    ]
    for row in rows:
        masks = (np.isin(labels, LABELS[row["structure"]]) for labels in (reference, prediction))
        expected = measure_structure(
            *masks, spacing_mm=SPACING_MM, nsd_tolerance_mm=TOLERANCES_MM[row["structure"]]
        )
        assert row["state"] == expected.state
        for name, value in numbers_of(vars(expected)).items():
            assert row[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("orders", ["FF", "FC", "CF"])
@pytest.mark.parametrize("types", [(np.uint8, np.int32), (np.int16, np.uint16)])
def test_memory_layout_and_type_of_label_maps_do_not_matter(orders: str, types: tuple) -> None:
    maps = label_maps()
    converted = [
        np.asarray(labels, dtype=dtype, order=order)
        for labels, dtype, order in zip(maps, types, orders, strict=True)
    ]
    for row, expected in zip(measure_maps(*converted), measure_maps(*maps), strict=True):
        assert numbers_of(row) == pytest.approx(numbers_of(expected), rel=1e-6)


def test_structure_that_is_in_neither_map_is_absent_and_one_in_either_is_a_failure() -> None:
    reference, prediction = np.zeros((2, 4, 4, 4), dtype=np.uint8)
    reference[1, 1, 1], prediction[2, 2, 2] = 1, 2
    states = [row["state"] for row in measure_maps(reference, prediction)]
    assert states == ["missed", "hallucinated", "ok"]
    states = [row["state"] for row in measure_maps(reference, np.zeros_like(reference))]
    assert states == ["missed", "true_absent", "missed"]


def test_label_maps_are_not_changed() -> None:
    maps = label_maps()
    copies = [labels.copy() for labels in maps]
    measure_maps(*maps)
    np.testing.assert_array_equal(maps, copies)


CUBE = np.ones((2, 2, 2), dtype=bool)


@pytest.mark.parametrize(
    ("prediction", "spacing_mm", "tolerance_mm", "message"),
    [
        (np.ones((2, 2, 3), dtype=bool), SPACING_MM, 1.0, r"\(2, 2, 3\)"),
        (np.full((2, 2, 2), 0.3), SPACING_MM, 1.0, "float64"),
        (CUBE, (1.0, 0.0, 1.0), 1.0, "spacing_mm"),
        (CUBE, (1.0, -1.0, 1.0), 1.0, "spacing_mm"),
        (CUBE, (1.0, np.nan, 1.0), 1.0, "spacing_mm"),
        (CUBE, (1.0, 1.0), 1.0, "spacing_mm"),
        (CUBE, SPACING_MM, -0.1, "nsd_tolerance_mm: -0.1"),
        (CUBE, SPACING_MM, np.nan, "nsd_tolerance_mm"),
    ],
)
def test_nonsense_is_refused(
    prediction: NDArray, spacing_mm: tuple, tolerance_mm: float, message: str
) -> None:
    with pytest.raises(CrossfoldError, match=message):
        measure_structure(CUBE, prediction, spacing_mm=spacing_mm, nsd_tolerance_mm=tolerance_mm)


@pytest.mark.parametrize(
    ("labels", "tolerances_mm", "message"),
    [
        ({"rectum": []}, {"rectum": 1.0}, "labels: rectum"),
        ({"rectum": [0]}, {"rectum": 1.0}, "labels: rectum"),
        ({"rectum": [1]}, {"bladder": 1.0}, "no tolerance for rectum"),
    ],
)
def test_nonsense_labels_are_refused(labels: dict, tolerances_mm: dict, message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        measure_label_maps(
            *label_maps(), labels=labels, spacing_mm=SPACING_MM, nsd_tolerance_mm=tolerances_mm
        )
