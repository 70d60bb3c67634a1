import numpy as np
import pytest

from crossfold.evaluation.inspection import (
    dice_swapped,
    mirror_partners,
    remote_component_mm,
    touches_border,
)
from crossfold.evaluation.mask_pairs import LabelMapPair, MaskPair

LABELS = {"kidney_l": (1,), "kidney_r": (2,), "kidneys": (1, 2), "absent": (3,)}


def label_maps() -> LabelMapPair:
    """The left kidney is predicted as the right one, but for 4 of its 16 voxels."""
    reference, prediction = np.zeros((2, 12, 6, 6), np.uint8)
    reference[1:3, 1:5, 2:4], reference[9:11, 1:5, 2:4] = 1, 2
    prediction[1:3, 1:4, 2:4], prediction[9:11, 1:5, 2:4] = 2, 1
    return LabelMapPair(reference, prediction, LABELS, (1.0, 1.0, 1.0))


def test_partners_are_configured_or_told_by_their_names() -> None:
    names = [
        "femur_l",
        "femur_r",
        "Lung_Left",
        "Lung_Right",
        "eye_left",
        "eye_r",
        "testis",
        "a",
        "b",
    ]
    pairs = ("femur_l", "femur_r"), ("Lung_Left", "Lung_Right"), ("a", "b")
    there_and_back = dict(pairs) | {right: left for left, right in pairs}
    assert mirror_partners(names, [("a", "b")]) == there_and_back


def test_what_is_configured_goes_before_what_names_tell() -> None:
    partners = mirror_partners(["a_l", "a_r", "b"], [["a_l", "b"]])
    assert partners["a_l"] == "b"
    assert partners["b"] == "a_l"
    assert "a_r" not in partners


def test_swapped_dice_by_hand() -> None:
    maps = label_maps()
    # 12 of 16 voxels of the left kidney were predicted as the right one, and all 16 of the right.
    assert dice_swapped(maps, "kidney_l", "kidney_r") == pytest.approx(2 * 12 / (16 + 12))
    assert dice_swapped(maps, "kidney_r", "kidney_l") == 1
    assert maps.pair("kidney_l").dice == 0
    assert np.isnan(dice_swapped(maps, "absent", "absent"))
    assert dice_swapped(maps, "kidney_l", "absent") == 0


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("end", [0, -1])
def test_the_prediction_alone_touches_a_face(axis: int, end: int) -> None:
    face = tuple(end if number == axis else slice(2, 4) for number in range(3))
    maps = label_maps()
    maps.prediction[face] = 1
    touching = {structure for structure in LABELS if touches_border(maps, structure)}
    assert touching == {"kidney_l", "kidneys"}
    maps = label_maps()
    maps.prediction[face] = maps.reference[face] = 1
    assert not touches_border(maps, "kidney_l")


def test_nothing_touches_the_border() -> None:
    maps = label_maps()
    assert not any(touches_border(maps, structure) for structure in LABELS)


def test_another_face_does_not_excuse_a_prediction_that_touches_one() -> None:
    maps = label_maps()
    maps.reference[0, 2, 2] = maps.prediction[-1, 2, 2] = 1
    assert touches_border(maps, "kidney_l")


def test_a_hallucination_at_the_border_touches_it_and_a_miss_does_not() -> None:
    maps = label_maps()
    maps.prediction[0, 0, 0] = 3
    maps.reference[0, 0, 5] = 1
    maps.prediction[maps.prediction == 1] = 0
    assert touches_border(maps, "absent")
    assert not touches_border(maps, "kidney_l")


def test_remote_components_by_hand() -> None:
    reference, prediction = np.zeros((2, 20, 5, 5), bool)
    reference[2:5, 1:4, 1:4], prediction[3:6, 1:4, 1:4] = True, True
    assert remote_component_mm(MaskPair(reference, prediction, (2.0, 1.0, 1.0))) == 0
    # The component from x = 9 to 12 begins 5 voxels of 2 mm behind the reference's last, x = 4;
    # the one at x = 14 hangs on it by a corner and is part of it.
    prediction[9:13, 2, 2] = True
    prediction[13, 3, 3] = True
    assert remote_component_mm(MaskPair(reference, prediction, (2.0, 1.0, 1.0))) == 10
    prediction[16, 2, 2] = True
    assert remote_component_mm(MaskPair(reference, prediction, (2.0, 1.0, 1.0))) == 24


def test_a_component_inside_the_reference_is_not_remote() -> None:
    reference, prediction = np.ones((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    prediction[4, 4, 4] = True
    assert remote_component_mm(MaskPair(reference, prediction, (1.0, 1.0, 1.0))) == 0


def test_a_component_around_the_reference_is_not_remote() -> None:
    reference, prediction = np.zeros((9, 9, 9), bool), np.ones((9, 9, 9), bool)
    reference[4, 4, 4] = True
    assert remote_component_mm(MaskPair(reference, prediction, (1.0, 1.0, 1.0))) == 0


def test_nothing_is_remote_where_a_mask_is_empty() -> None:
    present, empty = np.ones((2, 2, 1), bool), np.zeros((2, 2, 1), bool)
    for masks in [(present, empty), (empty, present), (empty, empty)]:
        assert np.isnan(remote_component_mm(MaskPair(*masks, (1.0, 1.0, 1.0))))
