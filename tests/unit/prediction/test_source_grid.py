from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from crossfold.images import Image
from crossfold.prediction.source_grid import to_source_grid

# Axes of the file: anterior to posterior, left to right, superior to inferior.
AFFINE = np.array([[0, 2.0, 0, -10], [-1.0, 0, 0, 30], [0, 0, -3.0, 7], [0, 0, 0, 1]])


def source(shape: tuple[int, int, int]) -> Image:
    return Image(np.random.default_rng(0).random(shape), AFFINE, nib.Nifti1Header())


def test_posteriors_return_to_the_axes_of_the_source_image() -> None:
    image = source((6, 4, 5))
    ras = torch.from_numpy(image.to_ras().array).float()
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


SIZES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, st.integers(0, 2**16), st.floats(0, 0.99))
def test_the_same_as_trilinear_interpolation(
    coarse: tuple[int, int, int], fine: tuple[int, int, int], seed: int, empty: float
) -> None:
    """Of torch, but for the last bit of a byte; also of a structure in a corner, or of none."""
    random = np.random.default_rng(seed)
    values = random.random(coarse) * (random.random(coarse) >= empty)
    structure = torch.from_numpy(values.astype(np.float32))
    image = Image(np.empty(fine, np.float32), np.diag([1.0, 2.0, 3.0, 1.0]), nib.Nifti1Header())
    found = to_source_grid(torch.stack([1 - structure, structure]), image)
    wanted = functional.interpolate(structure[None, None], fine, mode="trilinear")[0, 0] * 255
    assert found.flags.f_contiguous
    assert np.abs(found[..., 0] - wanted.numpy()).max() <= 0.51


def test_what_is_less_than_half_a_step_everywhere_is_nothing() -> None:
    image = source((6, 4, 5))
    faint = torch.full((2, 4, 6, 5), 0.4 / 255)
    assert not to_source_grid(faint, image).any()
    faint[1, 1, 2, 3] = 1
    assert to_source_grid(faint, image).sum() == 255
