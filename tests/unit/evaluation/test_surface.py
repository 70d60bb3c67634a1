import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
from hypothesis import assume, given, settings
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.evaluation.surface import surface_distances, surface_voxels

shapes = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
masks = shapes.flatmap(lambda shape: arrays.arrays(bool, shape, elements=st.booleans()))
mask_pairs = shapes.flatmap(lambda shape: st.tuples(*[arrays.arrays(bool, shape)] * 2))
spacings_mm = st.tuples(*[st.floats(0.1, 10)] * 3)


@given(masks, st.sampled_from("CF"))
@settings(deadline=None)
def test_surface_is_the_mask_without_its_erosion(mask: NDArray[np.bool_], order: str) -> None:
    mask = np.asarray(mask, order=order)
    surface = surface_voxels(mask)
    np.testing.assert_array_equal(surface, mask & ~ndimage.binary_erosion(mask))
    assert surface.strides == mask.strides


@given(mask_pairs, spacings_mm, st.sampled_from("CF"))
@settings(deadline=None)
def test_distances_are_those_of_scipy(
    pair: tuple[NDArray, NDArray], spacing_mm: tuple[float, float, float], order: str
) -> None:
    reference, prediction = (np.asarray(mask, order=order) for mask in pair)
    assume(reference.any() and prediction.any())
    measured = surface_distances(reference, prediction, spacing_mm)
    for distances, (source, target) in zip(
        measured, [(reference, prediction), (prediction, reference)], strict=True
    ):
        to_target = ndimage.distance_transform_edt(~surface_voxels(target), sampling=spacing_mm)
        np.testing.assert_allclose(distances, to_target[surface_voxels(source)], rtol=1e-5)
