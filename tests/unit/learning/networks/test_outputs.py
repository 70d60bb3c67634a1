from __future__ import annotations

import pytest
import torch
from torch import nn

from crossfold.errors import CrossfoldError
from crossfold.learning.networks import centre_crop, heads_of, margin_of
from crossfold.learning.networks.outputs import SliceWise


def test_one_head_has_all_the_weight() -> None:
    logits = torch.zeros(2, 3, 4, 5, 6)
    [(weight, head)] = heads_of(logits)
    assert weight == 1.0
    assert head is logits


def test_each_head_has_half_the_weight_of_the_one_before() -> None:
    stacked = torch.arange(3.0)[None, :, None, None, None, None].expand(1, 3, 2, 4, 4, 4)
    heads = heads_of(stacked)
    assert [weight for weight, _ in heads] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert [head.unique().item() for _, head in heads] == [0, 1, 2]
    assert [weight for weight, _ in heads_of([head for _, head in heads[:2]])] == pytest.approx(
        [2 / 3, 1 / 3]
    )


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(2, 3, 4, 5), "does not return logits"),
        ([], "does not return logits"),
        ({"out": torch.zeros(1, 2, 4, 4, 4)}, "does not return logits"),
        ([torch.zeros(1, 2, 4, 4, 4), torch.zeros(1, 2, 2, 2, 2)], r"several sizes: \(4, 4, 4\)"),
    ],
)
def test_what_is_not_understood_is_refused(output: object, message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        heads_of(output)  # type: ignore[arg-type]


def test_labels_are_cropped_to_the_centre() -> None:
    labels = torch.arange(5)[None, :, None, None].expand(1, 5, 4, 3)
    assert centre_crop(labels, (5, 4, 3)) is labels
    assert centre_crop(labels, (3, 4, 1))[0, :, 0, 0].tolist() == [1, 2, 3]
    for size in [(6, 4, 3), (4, 4, 3)]:
        with pytest.raises(CrossfoldError, match=r"maps \(5, 4, 3\) voxels to"):
            centre_crop(labels, size)


def test_most_networks_have_no_margin() -> None:
    assert margin_of(nn.Conv3d(1, 1, 1)) == (0, 0, 0)


def test_slices_are_a_batch() -> None:
    plane = nn.Conv2d(2, 3, 3, padding=1)
    image = torch.randn(2, 2, 6, 5, 4)
    result = SliceWise(plane)(image)
    expected = torch.stack([plane(image[..., z]) for z in range(4)], dim=-1)
    torch.testing.assert_close(result, expected)
