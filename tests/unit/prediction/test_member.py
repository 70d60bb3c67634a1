from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

from crossfold.images import Image
from crossfold.prediction.member import only_in_mask, to_source_grid

# Axes of the file: anterior to posterior, left to right, superior to inferior.
AFFINE = np.array([[0, 2.0, 0, -10], [-1.0, 0, 0, 30], [0, 0, -3.0, 7], [0, 0, 0, 1]])


def source(shape: tuple[int, int, int]) -> Image:
    return Image(np.random.default_rng(0).random(shape), AFFINE, nib.Nifti1Header())


def test_posteriors_return_to_the_axes_of_the_source_image() -> None:
    image = source((6, 4, 5))
    ras = torch.from_numpy(image.to_ras().array)
    posterior = torch.stack([1 - ras, ras])
    on_source = to_source_grid(posterior, image)
    assert on_source.shape == (6, 4, 5, 1)
    np.testing.assert_array_equal(on_source[..., 0], np.rint(image.array * 255))


@pytest.mark.parametrize("factor", [2, 3])
def test_a_coarser_grid_has_the_same_edges(factor: int) -> None:
    """A step in the middle of a coarse grid is a step in the middle of the source image."""
    image = source((12, 12, 12))
    coarse = torch.zeros(2, 12 // factor, 12 // factor, 12 // factor)
    coarse[1, : 12 // factor // 2] = 1
    right = to_source_grid(coarse, image)[..., 0]
    profile = right.mean(axis=(0, 2))
    # RAS x is the file's second axis, in the same direction.
    assert (profile[:6] > 127).all()
    assert (profile[6:] < 128).all()
    assert profile + profile[::-1] == pytest.approx(np.full(12, 255), abs=1)


def test_outside_of_the_mask_is_background() -> None:
    with torch.inference_mode():
        posterior = torch.rand(3, 4, 5, 6).softmax(0)
    assert only_in_mask(posterior, None) is posterior
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1:3] = True
    masked = only_in_mask(posterior, mask)
    torch.testing.assert_close(masked[:, 1:3], posterior[:, 1:3])
    assert (masked[0, [0, 3]] == 1).all()
    assert (masked[1:, [0, 3]] == 0).all()
