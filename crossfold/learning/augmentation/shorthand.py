"""The keys of `training.augmentation` that stand for a list of transforms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossfold.config.augmentation import (
    Affine,
    AugmentationConfig,
    BiasField,
    Elastic,
    Gamma,
    Intensity,
    Mirror,
    Noise,
    Transforms,
)
from crossfold.learning.augmentation.geometry import Drawn, draw_matrices, drawn_axes

ELASTIC_POINTS, BIAS_POINTS = 5, 3
ELASTIC_PROBABILITY = GAMMA_PROBABILITY = BIAS_PROBABILITY = MIRROR_PROBABILITY = 0.5
NOISE_PROBABILITY = 0.3


def written_out(config: AugmentationConfig) -> Transforms:
    """Return the transforms that the keys stand for, in the order in which they are done."""
    return (
        Affine(
            method="affine",
            probability=config.affine_probability,
            rotation_deg=config.rotation_deg,
            scaling=config.scaling,
            aspect=config.aspect,
        ),
        Elastic(
            method="elastic",
            probability=config.affine_probability * ELASTIC_PROBABILITY,
            displacement_mm=config.elastic_mm,
            points=ELASTIC_POINTS,
        ),
        Mirror(
            method="mirror",
            probability=MIRROR_PROBABILITY,
            axes=config.mirror_axes,
            pairs=config.mirror_pairs,
        ),
        BiasField(
            method="bias_field",
            probability=BIAS_PROBABILITY,
            deviation=config.bias_field,
            points=BIAS_POINTS,
        ),
        Gamma(method="gamma", probability=GAMMA_PROBABILITY, gamma=config.gamma),
        Intensity(method="intensity", gain=config.gain, offset=config.offset),
        Noise(method="noise", probability=NOISE_PROBABILITY, deviation=config.noise),
    )


def draw(
    config: AugmentationConfig, affine: Affine, random: np.random.Generator, count: int
) -> list[Drawn]:
    """Draw what `written_out` needs, `affine` the first of it, in an order of its own.

    The weights of every training with these keys depend on that order. Crops are bent only where
    they are rotated as well.
    """

    def sometimes(probability: float, *trailing: int) -> NDArray[np.bool_]:
        chosen = random.random(count) < probability
        return chosen.reshape(count, *(1 for _ in trailing))

    axes = drawn_axes(config.mirror_axes, random, count, MIRROR_PROBABILITY)
    elastic = random.normal(0, 1, (count, 2, ELASTIC_POINTS, ELASTIC_POINTS)) * config.elastic_mm
    field = random.normal(0, 1, (count, BIAS_POINTS, BIAS_POINTS)) * config.bias_field
    gamma = np.exp(random.normal(0, 1, count) * config.gamma)
    noise = random.uniform(0, 1, count) * config.noise
    chosen = sometimes(config.affine_probability)
    matrix = draw_matrices(affine, random, count)
    bent = chosen & sometimes(ELASTIC_PROBABILITY)
    gain = random.uniform(1 - config.gain, 1 + config.gain, count)
    offset = random.uniform(-config.offset, config.offset, count)
    gamma = np.where(sometimes(GAMMA_PROBABILITY), gamma, 1)
    noise = np.where(sometimes(NOISE_PROBABILITY), noise, 0)
    field = np.where(sometimes(BIAS_PROBABILITY, 1, 1), field, 0)
    elastic = np.where(bent[:, None, None, None], elastic, 0)
    return [
        {"chosen": chosen, "matrix": matrix},
        {"chosen": bent, "displacement_mm": elastic.astype(np.float32)},
        {"axes": axes},
        {"field": field.astype(np.float32)},
        {"gamma": gamma.astype(np.float32)},
        {"gain": gain.astype(np.float32), "offset": offset.astype(np.float32)},
        {"deviation": noise.astype(np.float32)},
    ]
