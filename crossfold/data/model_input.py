"""What a network sees of an image, in training and in prediction alike: its grid, its intensities.

Air, and what lies outside an image, is 0 on the scale of `ct_window` and `percentile` (unless they
have another `output_range`); with `z_score` 0 is the mean of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossfold.config.preprocessing import PreprocessingConfig
from crossfold.data.normalisation import normalise
from crossfold.data.resampling import resample, resample_labels, resampled_shape
from crossfold.errors import CrossfoldError
from crossfold.images import Image


def target_mm(own_mm: Sequence[float], wanted_mm: Sequence[float | None]) -> list[float]:
    """Return the voxel size that an image gets: along an axis without a wish, its own."""
    return [o if w is None else w for o, w in zip(own_mm, wanted_mm, strict=True)]


def on_grid(image: Image, spacing_mm: Sequence[float | None]) -> NDArray[np.float32]:
    """Return an image on the training grid, (x, y, z), RAS.

    Parameters
    ----------
    image
        As it was read.
    spacing_mm
        Voxel size along right, anterior, superior; None: that of the image.
    """
    ras = image.to_ras()
    target = target_mm(ras.spacing_mm, spacing_mm)
    return resample(ras.array, resampled_shape(ras.array.shape, ras.spacing_mm, target))


def mask_on_grid(mask: Image, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return a mask, an image that is 1 inside, on a training grid of that shape."""
    return resample_labels(mask.to_ras().array, shape, 1).astype(bool)


def normalised(
    array: NDArray[np.float32],
    config: PreprocessingConfig,
    mask: NDArray[np.bool_] | None,
    *,
    subject: str,
    channel: str,
) -> NDArray[np.float16]:
    """Return an image with the intensities that a network reads, or say what is wrong with it.

    Parameters
    ----------
    array
        (x, y, z), on the training grid.
    config
        Section of the model.
    mask
        On the same grid; None for a model without `preprocessing.mask`.
    subject, channel
        Of the image; the channel decides on the method.

    Raises
    ------
    CrossfoldError
        If no voxel lies in the mask, or a value cannot be stored.
    """
    method = config.normalisation_of(channel)
    try:
        with np.errstate(over="ignore"):
            values = normalise(array, method, mask).astype(np.float16)
    except ValueError as error:
        raise CrossfoldError(
            f"subject {subject}, preprocessing.mask: {config.mask}: {error}",
            remedy="mend the mask, or leave the subject out",
        ) from error
    if not np.isfinite(values).all():
        raise CrossfoldError(
            f"subject {subject}, image {channel}: values that are not numbers, or beyond ±65504, "
            f"after preprocessing.normalisation: {method.method}",
            remedy="mend the image, or choose a method that maps it to a range",
        )
    return values
