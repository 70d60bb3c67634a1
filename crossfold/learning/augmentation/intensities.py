"""What the voxels of a crop are worth: fields, contrast, noise, sharpness.

Each function takes and returns images (crop, channel, x, y, z); what was drawn has one entry per
crop, and leaves the crops alone that were not chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from crossfold.config.augmentation import (
    Axis,
    BiasField,
    Blur,
    Gamma,
    Intensity,
    LowResolution,
    Noise,
)
from crossfold.learning.augmentation.geometry import Drawn, cubic, spread
from crossfold.learning.sampling import Share

_EVERYWHERE = (2, 3, 4)
# A Gaussian ends here, in standard deviations, as in scipy and MONAI.
_TRUNCATED = 4.0


def draw_bias_field(config: BiasField, random: np.random.Generator, count: int) -> Drawn:
    """Draw `field`, (crop, points, points)."""
    chosen = random.random((count, 1, 1)) < config.probability
    field = random.normal(0, config.deviation, (count, config.points, config.points))
    return {"field": np.where(chosen, field, 0).astype(np.float32)}


def add_bias_field(images: Tensor, drawn: Drawn) -> Tensor:
    """Add a field that is smooth along x and y, and the same in every slice."""
    if not drawn["field"].any():
        return images
    field = torch.from_numpy(drawn["field"]).to(images.device)[:, None]
    return images + cubic(field, images.shape[2:4])[..., None]


def draw_gamma(config: Gamma, random: np.random.Generator, count: int) -> Drawn:
    """Draw `gamma`, exponents (crop), 1 where there is none."""
    chosen = random.random(count) < config.probability
    gamma = np.exp(config.gamma * spread(config.distribution, random, [count]))
    return {"gamma": np.where(chosen, gamma, 1).astype(np.float32)}


def change_gamma(images: Tensor, drawn: Drawn, config: Gamma) -> Tensor:
    """Raise intensities, scaled to [0, 1] in each crop and channel, to a power."""
    if (drawn["gamma"] == 1).all():
        return images
    source = -images if config.inverted else images
    low = source.amin(_EVERYWHERE, keepdim=True)
    width = source.amax(_EVERYWHERE, keepdim=True) - low + 1e-6
    changed = ((source - low) / width).pow(_per_crop(drawn["gamma"], images)) * width + low
    if config.keep_statistics:
        old, new = (torch.std_mean(a, _EVERYWHERE, keepdim=True) for a in (source, changed))
        changed = (changed - new[1]) * (old[0] / new[0].clamp(min=1e-7)) + old[1]
    return -changed if config.inverted else changed


def draw_intensity(config: Intensity, random: np.random.Generator, count: int) -> Drawn:
    """Draw `gain` and `offset`, (crop)."""
    chosen = random.random(count) < config.probability
    gain = random.uniform(1 - config.gain, 1 + config.gain, count)
    offset = random.uniform(-config.offset, config.offset, count)
    return {
        "gain": np.where(chosen, gain, 1).astype(np.float32),
        "offset": np.where(chosen, offset, 0).astype(np.float32),
    }


def change_intensity(images: Tensor, drawn: Drawn, config: Intensity) -> Tensor:
    """Scale and shift intensities."""
    gain, offset = (_per_crop(drawn[name], images) for name in ("gain", "offset"))
    if config.around == "zero":
        changed = images * gain + offset
    else:
        mean = images.mean(_EVERYWHERE, keepdim=True)
        # Nothing is rounded where the gain is 1.
        changed = images + (images - mean) * (gain - 1) + offset
    if config.keep_range:
        low, high = (f(images, _EVERYWHERE, keepdim=True) for f in (torch.amin, torch.amax))
        changed = changed.clamp(low, high)
    return changed


def draw_noise(config: Noise, random: np.random.Generator, count: int) -> Drawn:
    """Draw `deviation`, (crop), 0 where there is none."""
    chosen = random.random(count) < config.probability
    deviation = random.uniform(0, config.deviation, count)
    return {"deviation": np.where(chosen, deviation, 0).astype(np.float32)}


def add_noise(images: Tensor, drawn: Drawn, generator: torch.Generator, share: Share) -> Tensor:
    """Add white noise; it is drawn for the crops of all devices, so that it depends on none."""
    if not drawn["deviation"].any():
        return images
    noise = torch.randn(
        (share.total, *images.shape[1:]),
        generator=generator,
        device=images.device,
        dtype=images.dtype,
    )
    return images + noise[share.crops] * _per_crop(drawn["deviation"], images)


def draw_blur(config: Blur, random: np.random.Generator, count: int) -> Drawn:
    """Draw `sigma_voxels`, (crop, axis), 0 where there is none."""
    chosen = random.random((count, 1)) < config.probability
    sigma = random.uniform(*config.sigma_voxels, (count, 3))
    return {"sigma_voxels": np.where(chosen & _along(config.axes), sigma, 0).astype(np.float32)}


def blur(images: Tensor, drawn: Drawn) -> Tensor:
    """Smooth with a Gaussian, sampled at the voxels, along one axis after the other."""
    sigma = drawn["sigma_voxels"]
    for axis in range(3):
        chosen = np.flatnonzero(sigma[:, axis])
        if chosen.size:
            images = images.clone()
            images[chosen] = _blur_along(images[chosen], axis, sigma[chosen, axis])
    return images


def _blur_along(images: Tensor, axis: int, sigma: NDArray[np.float32]) -> Tensor:
    radii = (_TRUNCATED * sigma + 0.5).astype(int)
    radius = int(radii.max())
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma[:, None]) ** 2)
    # What a crop becomes does not depend on the others.
    weights[np.abs(steps) > radii[:, None]] = 0
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    # torch pads the last axis first.
    padding = [radius if axis == 2 - i // 2 else 0 for i in range(6)]
    padded = functional.pad(images, padding, mode="replicate")
    length = images.shape[2 + axis]
    smooth = torch.zeros_like(images)
    for first, weight in enumerate(weights.T):
        smooth += _per_crop(weight, images) * padded.narrow(2 + axis, first, length)
    return smooth


def draw_low_resolution(config: LowResolution, random: np.random.Generator, count: int) -> Drawn:
    """Draw `zoom`, (crop, axis), 1 where there is none."""
    chosen = random.random((count, 1)) < config.probability
    zoom = random.uniform(*config.zoom, (count, 1))
    return {"zoom": np.where(chosen & _along(config.axes), zoom, 1)}


def lower_resolution(images: Tensor, drawn: Drawn) -> Tensor:
    """Keep the nearest voxels of a coarser grid, and interpolate them linearly."""
    chosen = np.flatnonzero((drawn["zoom"] != 1).any(axis=1))
    if not chosen.size:
        return images
    images = images.clone()
    size = images.shape[2:]
    for crop in chosen.tolist():  # one by one, because each has a grid of its own
        coarse = [max(1, round(n * z)) for n, z in zip(size, drawn["zoom"][crop], strict=True)]
        kept = functional.interpolate(images[crop][None], coarse, mode="nearest-exact")
        images[crop] = functional.interpolate(kept, size, mode="trilinear")[0]
    return images


def _per_crop(values: NDArray[np.float32], images: Tensor) -> Tensor:
    return torch.from_numpy(values).to(images.device)[:, None, None, None, None]


def _along(axes: Sequence[Axis]) -> NDArray[np.bool_]:
    return np.array([axis in axes for axis in "xyz"])
