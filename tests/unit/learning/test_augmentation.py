from __future__ import annotations

import numpy as np
import pytest
import torch

from crossfold.config.learning import AugmentationConfig
from crossfold.learning.augmentation import (
    Augmenter,
    draw_augmentation,
    margin_of,
    mirrored_labels,
    stays_in_plane,
)

NOTHING = {"affine_probability": 0, "gain": 0, "offset": 0}
PATCH = (16, 12, 10)


def crops(margin: list[int], classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = [s + 2 * m for s, m in zip(PATCH, margin, strict=True)]
    images = torch.randn(2, 1, *size, generator=generator)
    return images, torch.randint(0, classes, (2, *size), generator=generator)


def augment(config: AugmentationConfig, seed: int = 0, **options: object):  # type: ignore[no-untyped-def]
    augmenter = Augmenter(
        config, patch_size=PATCH, spacing_mm=(1.0, 2.0, 3.0), structures=["left", "right"]
    )
    images, labels = crops(augmenter.margin)
    drawn = draw_augmentation(config, np.random.default_rng(seed), 2)
    result = augmenter(images, labels, drawn, torch.Generator().manual_seed(seed))
    inner = tuple(slice(m, m + s) for m, s in zip(augmenter.margin, PATCH, strict=True))
    return result, (images[(..., *inner)], labels[(..., *inner)])


def test_nothing_changes_nothing() -> None:
    (images, labels), (old_images, old_labels) = augment(AugmentationConfig(**NOTHING))
    torch.testing.assert_close(images, old_images)
    assert torch.equal(labels, old_labels)


@pytest.mark.parametrize("about_x", [0.0, 1e-9])
def test_a_rotation_by_nothing_is_the_identity(about_x: float) -> None:
    """In plane (0) and in space (a hair's breadth) read the grid of the crop itself."""
    config = AugmentationConfig(
        affine_probability=1, rotation_deg=(about_x, 0, 0), scaling=0, gain=0, offset=0
    )
    (images, labels), (old_images, old_labels) = augment(config)
    torch.testing.assert_close(images, old_images, atol=1e-4, rtol=1e-4)
    assert torch.equal(labels, old_labels)


def test_scaling_enlarges_in_millimetres() -> None:
    config = AugmentationConfig(affine_probability=1, rotation_deg=(0, 0, 0), scaling=0.3)
    augmenter = Augmenter(config, patch_size=(40, 20, 3), spacing_mm=(1, 2, 5), structures=["a"])
    x, y, z = (s + 2 * m for s, m in zip((40, 20, 3), augmenter.margin, strict=True))
    millimetres = torch.stack(
        torch.meshgrid(
            torch.arange(x) - (x - 1) / 2, 2 * (torch.arange(y) - (y - 1) / 2), indexing="ij"
        )
    )
    disc = (millimetres.norm(dim=0) < 12)[None, :, :, None].expand(1, x, y, z).long()
    drawn = draw_augmentation(config, np.random.default_rng(3), 1)
    scale = 1 / drawn.matrix[0, 0, 0]
    _, labels = augmenter(disc[:, None].float(), disc, drawn, torch.Generator())
    area = labels[0, :, :, 1].sum() * 2
    assert area / (np.pi * (12 * scale) ** 2) == pytest.approx(1, abs=0.05)
    assert abs(scale - 1) > 0.1


def test_mirroring_renames_left_and_right() -> None:
    config = AugmentationConfig(**NOTHING, mirror_axes=("x",), mirror_pairs=(("left", "right"),))
    for seed in range(5):
        (images, labels), (old_images, old_labels) = augment(config, seed)
        mirrored = draw_augmentation(config, np.random.default_rng(seed), 2).mirror[:, 0]
        for crop, was_mirrored in enumerate(mirrored):
            if was_mirrored:
                torch.testing.assert_close(images[crop], old_images[crop].flip(1))
                swapped = torch.tensor([0, 2, 1])[old_labels[crop]].flip(0)
                assert torch.equal(labels[crop], swapped)
            else:
                torch.testing.assert_close(images[crop], old_images[crop])


def test_the_same_seed_gives_the_same_crops() -> None:
    config = AugmentationConfig(
        affine_probability=1, elastic_mm=3, gamma=0.3, bias_field=0.2, noise=0.2, mirror_axes=("y",)
    )
    (first, first_labels), (source, _) = augment(config, seed=7)
    (second, second_labels), _ = augment(config, seed=7)
    assert torch.equal(first, second)
    assert torch.equal(first_labels, second_labels)
    assert not torch.equal(first, source)


def test_labels_of_deformed_crops_are_labels() -> None:
    config = AugmentationConfig(affine_probability=1, elastic_mm=5, rotation_deg=(20, 20, 20))
    (images, labels), _ = augment(config)
    assert images.shape == (2, 1, *PATCH)
    assert set(labels.unique().tolist()) <= {0, 1, 2}


def test_slices_are_kept_unless_rotated_about_x_or_y() -> None:
    assert stays_in_plane(AugmentationConfig(rotation_deg=(0, 0, 10)))
    assert not stays_in_plane(AugmentationConfig(rotation_deg=(0, 1, 0)))
    assert margin_of(AugmentationConfig(rotation_deg=(0, 0, 10)), (100, 100, 10)) == [15, 15, 0]
    assert margin_of(AugmentationConfig(affine_probability=0), (100, 100, 10)) == [0, 0, 0]


def test_mirrored_labels_exchange_pairs() -> None:
    renamed = mirrored_labels([("femur_l", "femur_r")], ["femur_r", "rectum", "femur_l"])
    assert renamed.tolist() == [0, 3, 2, 1]
