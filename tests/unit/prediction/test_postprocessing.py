from __future__ import annotations

import numpy as np

from crossfold.prediction.postprocessing import keep_largest_component, segment

LABELS = {"a": (1,), "b": (2,), "both": (1, 2)}


def test_the_strongest_wins_and_ties_go_to_the_background_and_then_to_the_first() -> None:
    posterior = np.array(
        [
            [100, 100],  # background 55: a tie of the structures
            [128, 0],  # background 127
            [127, 0],  # background 128
            [85, 85],  # background 85: a tie of all three
            [10, 200],
        ],
        dtype=np.uint8,
    ).reshape(5, 1, 1, 2)
    assert segment(posterior, whole=255, labels=LABELS).ravel().tolist() == [1, 1, 0, 0, 2]


def test_sums_of_several_members_need_no_rounding() -> None:
    one_more = np.array([[3 * 128 - 1, 0]], dtype=np.uint16).reshape(1, 1, 1, 2)
    assert segment(one_more, whole=3 * 255, labels=LABELS).item() == 1
    assert segment(one_more - np.uint16([1, 0]), whole=3 * 255, labels=LABELS).item() == 0


def drawing() -> np.ndarray:
    """Two parts of a: 3 voxels and 1; b touches the smaller one only, and has 4 voxels."""
    return np.array([1, 1, 1, 0, 1, 2, 2, 2, 2], dtype=np.uint8).reshape(9, 1, 1)


def test_only_the_largest_part_of_a_structure_is_kept() -> None:
    segmentation = drawing()
    keep_largest_component(segmentation, LABELS["a"])
    assert segmentation.ravel().tolist() == [1, 1, 1, 0, 0, 2, 2, 2, 2]


def test_the_parts_of_a_union_belong_together() -> None:
    segmentation = drawing()
    keep_largest_component(segmentation, LABELS["both"])
    assert segmentation.ravel().tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 2]


def test_voxels_that_share_an_edge_only_are_apart() -> None:
    segmentation = np.zeros((3, 3, 1), dtype=np.uint8)
    segmentation[0, 0] = segmentation[1, 1] = segmentation[2, 1] = 1
    keep_largest_component(segmentation, (1,))
    assert segmentation[..., 0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_an_absent_structure_stays_absent() -> None:
    segmentation = np.zeros((4, 4, 4), dtype=np.uint8)
    keep_largest_component(segmentation, (1,))
    assert not segmentation.any()
