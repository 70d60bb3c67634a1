from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from crossfold.config.learning import TrainingConfig
from crossfold.errors import CrossfoldError
from crossfold.learning.augmentation.geometry import Drawn, mirrored_labels
from crossfold.learning.augmentation.pipeline import Augmenter
from crossfold.learning.sampling import Share

PATCH, SPACING_MM = (16, 12, 10), (1.0, 2.0, 3.0)
NOTHING = {"affine_probability": 0, "gain": 0, "offset": 0}
CERTAIN = {"probability": 1}


def make(augmentation: Any, patch: tuple[int, ...] = PATCH, **more: Any) -> Augmenter:
    options: dict[str, Any] = {"spacing_mm": SPACING_MM, "structures": ["left", "right"]}
    config = TrainingConfig(augmentation=augmentation).augmentation
    return Augmenter(config, patch_size=patch, **(options | more))


def crops(augmenter: Augmenter, patch: tuple[int, ...] = PATCH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    size = [s + 2 * m for s, m in zip(patch, augmenter.margin, strict=True)]
    images = torch.randn(2, 1, *size, generator=generator)
    return images, torch.randint(0, 3, (2, *size), generator=generator)


def augment(augmentation: Any, seed: int = 0) -> tuple[tuple[Tensor, Tensor], list[Any]]:
    """Return new crops, and old images, old labels and what was drawn."""
    augmenter = make(augmentation)
    images, labels = crops(augmenter)
    drawn = augmenter.draw(np.random.default_rng(seed), 2)
    result = augmenter(images, labels, drawn, torch.Generator().manual_seed(seed))
    x, y, z = (slice(m, m + s) for m, s in zip(augmenter.margin, PATCH, strict=True))
    return result, [images[..., x, y, z], labels[..., x, y, z], drawn]


@pytest.mark.parametrize("nothing", [NOTHING, []])
def test_nothing_changes_nothing(nothing: Any) -> None:
    (images, labels), (old_images, old_labels, _) = augment(nothing)
    torch.testing.assert_close(images, old_images)
    assert torch.equal(labels, old_labels)


@pytest.mark.parametrize("about_x", [0.0, 1e-9])
def test_a_rotation_by_nothing_is_the_identity(about_x: float) -> None:
    """In plane (0) and in space (a hair's breadth) read the grid of the crop itself."""
    still = {"rotation_deg": (about_x, 0, 0), "scaling": 0}
    shorthand = {"affine_probability": 1, **still, "gain": 0, "offset": 0}
    for augmentation in (shorthand, [{"method": "affine", **CERTAIN, **still}]):
        (images, labels), (old_images, old_labels, _) = augment(augmentation)
        torch.testing.assert_close(images, old_images, atol=1e-4, rtol=1e-4)
        assert torch.equal(labels, old_labels)


def test_scaling_enlarges_in_millimetres() -> None:
    patch = (40, 20, 3)
    augmenter = make(
        {"affine_probability": 1, "rotation_deg": (0, 0, 0), "scaling": 0.3},
        patch,
        spacing_mm=(1, 2, 5),
        structures=["a"],
    )
    x, y, z = (s + 2 * m for s, m in zip(patch, augmenter.margin, strict=True))
    millimetres = torch.stack(
        torch.meshgrid(
            torch.arange(x) - (x - 1) / 2, 2 * (torch.arange(y) - (y - 1) / 2), indexing="ij"
        )
    )
    disc = (millimetres.norm(dim=0) < 12)[None, :, :, None].expand(1, x, y, z).long()
    drawn = augmenter.draw(np.random.default_rng(3), 1)
    scale = 1 / drawn[0]["matrix"][0, 0, 0]
    _, labels = augmenter(disc[:, None].float(), disc, drawn, torch.Generator())
    area = labels[0, :, :, 1].sum() * 2
    assert area / (np.pi * (12 * scale) ** 2) == pytest.approx(1, abs=0.05)
    assert abs(scale - 1) > 0.1


def test_an_affine_transform_is_that_of_torch() -> None:
    """On a cube of voxels of 1 mm, `torch.nn.functional.affine_grid` speaks of the same matrix."""
    transform = {"method": "affine", **CERTAIN, "rotation_deg": (20, 10, 30), "aspect": 0.1}
    augmenter = make([transform], (16, 16, 16), spacing_mm=(1, 1, 1))
    images, labels = crops(augmenter, (16, 16, 16))
    drawn = augmenter.draw(np.random.default_rng(0), 2)
    moved, moved_labels = augmenter(images, labels, drawn, torch.Generator())
    # torch counts axes from the last, and in halves of the crop.
    matrix = torch.from_numpy(drawn[0]["matrix"]).flip(1, 2)
    theta = functional.pad(matrix * 16 / images.shape[-1], (0, 1))
    grid = functional.affine_grid(theta, [2, 1, 16, 16, 16], align_corners=False)
    expected = functional.grid_sample(images, grid, align_corners=False)
    torch.testing.assert_close(moved, expected, atol=1e-4, rtol=1e-4)
    truth = functional.one_hot(labels, 3).movedim(-1, 1).float()
    occupancy = functional.grid_sample(truth, grid, align_corners=False)
    certain = occupancy.amax(1) > 0.6
    assert torch.equal(moved_labels[certain], occupancy.argmax(1)[certain])


def test_deformations_side_by_side_are_one() -> None:
    """Their matrices are multiplied, and crops are interpolated once."""
    one = {"method": "affine", **CERTAIN, "rotation_deg": (0, 0, 20), "scaling": 0}
    two = {"method": "affine", **CERTAIN, "rotation_deg": (0, 0, 0), "scaling": 0.2}
    augmenter, single = make([one, two]), make([one])
    drawn = augmenter.draw(np.random.default_rng(0), 2)
    product = {"chosen": np.full(2, True), "matrix": drawn[0]["matrix"] @ drawn[1]["matrix"]}
    images, labels = crops(augmenter)
    both = augmenter(images, labels, drawn, torch.Generator())
    expected = single(images, labels, [product], torch.Generator())
    assert torch.equal(both[0], expected[0])
    assert torch.equal(both[1], expected[1])


def test_crops_that_are_not_chosen_stay() -> None:
    augmenter = make([{"method": "affine"}, {"method": "elastic", "in_plane": False}])
    images, labels = crops(augmenter)
    drawn = [dict(one) for one in augmenter.draw(np.random.default_rng(1), 2)]
    for one in drawn:
        one["chosen"] = np.array([False, True])
    drawn[1]["displacement_mm"][0] = 0
    x, y, z = (slice(m, m + s) for m, s in zip(augmenter.margin, PATCH, strict=True))
    moved, _ = augmenter(images, labels, drawn, torch.Generator())
    assert torch.equal(moved[0], images[0, :, x, y, z])
    assert not torch.allclose(moved[1], images[1, :, x, y, z])


@pytest.mark.parametrize("in_plane", [True, False])
def test_elastic_moves_images_and_labels_by_the_same_millimetres(in_plane: bool) -> None:
    """A displacement of all control points alike is a shift, here by one voxel of each axis."""
    augmenter = make([{"method": "elastic", **CERTAIN, "in_plane": in_plane}])
    images, labels = crops(augmenter)
    drawn = [dict(one) for one in augmenter.draw(np.random.default_rng(0), 2)]
    points = drawn[0]["displacement_mm"]
    axes = 2 if in_plane else 3
    step = np.array(SPACING_MM[:axes], dtype=np.float32)
    drawn[0]["displacement_mm"] = np.broadcast_to(
        step.reshape(1, axes, *[1] * axes), points.shape
    ).copy()
    moved, moved_labels = augmenter(images, labels, drawn, torch.Generator())
    shifts = [*[1] * axes, *[0] * (3 - axes)]
    x, y, z = (
        slice(m + shift, m + shift + s)
        for m, s, shift in zip(augmenter.margin, PATCH, shifts, strict=True)
    )
    torch.testing.assert_close(moved, images[..., x, y, z], atol=1e-3, rtol=1e-3)
    assert torch.equal(moved_labels, labels[..., x, y, z])


def test_mirroring_renames_left_and_right() -> None:
    pairs = [["left", "right"]]
    shorthand = {**NOTHING, "mirror_axes": ["x"], "mirror_pairs": pairs}
    listed = [{"method": "mirror", "axes": ["x"], "pairs": pairs}]
    for augmentation, place in ((shorthand, 2), (listed, 0)):
        seen = set()
        for seed in range(4):
            (images, labels), (old_images, old_labels, drawn) = augment(augmentation, seed)
            for crop, was_mirrored in enumerate(drawn[place]["axes"][:, 0]):
                seen.add(bool(was_mirrored))
                old = [old_images[crop], old_labels[crop]]
                if was_mirrored:
                    old = [old[0].flip(1), torch.tensor([0, 2, 1])[old[1]].flip(0)]
                torch.testing.assert_close(images[crop], old[0])
                assert torch.equal(labels[crop], old[1])
        assert seen == {True, False}


def test_mirroring_along_y_renames_nothing() -> None:
    transform = {"method": "mirror", **CERTAIN, "axes": ["y", "z"], "pairs": [["left", "right"]]}
    (images, labels), (old_images, old_labels, _) = augment([transform])
    assert torch.equal(images, old_images.flip(3, 4))
    assert torch.equal(labels, old_labels.flip(2, 3))


EVERYTHING = [
    {"method": "affine", **CERTAIN, "distribution": "uniform"},
    {"method": "elastic", **CERTAIN},
    {"method": "mirror", "axes": ["x", "z"]},
    {"method": "bias_field", **CERTAIN},
    {"method": "gamma", **CERTAIN},
    {"method": "intensity"},
    {"method": "blur", **CERTAIN},
    {"method": "low_resolution", **CERTAIN},
    {"method": "noise", **CERTAIN},
]
SHORTHAND = {
    "affine_probability": 1,
    "elastic_mm": 3,
    "gamma": 0.3,
    "bias_field": 0.2,
    "noise": 0.9,
    "mirror_axes": ["y"],
}


@pytest.mark.parametrize("augmentation", [EVERYTHING, SHORTHAND])
def test_the_same_seed_gives_the_same_crops(augmentation: Any) -> None:
    (first, first_labels), (source, *_) = augment(augmentation, seed=7)
    (second, second_labels), _ = augment(augmentation, seed=7)
    assert torch.equal(first, second)
    assert torch.equal(first_labels, second_labels)
    assert not torch.equal(first, source)
    assert first.shape == (2, 1, *PATCH)
    assert set(first_labels.unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("augmentation", [EVERYTHING, SHORTHAND])
def test_a_share_of_a_batch_is_that_part_of_it(augmentation: Any) -> None:
    """So that two devices see what one would have seen."""
    augmenter = make(augmentation)
    images, labels = crops(augmenter)
    for seed in range(3):
        drawn = augmenter.draw(np.random.default_rng(seed), 2)
        whole = augmenter(images, labels, drawn, torch.Generator().manual_seed(5))
        for crop in range(2):
            part = slice(crop, crop + 1)
            generator = torch.Generator().manual_seed(5)
            own = augmenter(images[part], labels[part], drawn, generator, Share(part, 2))
            torch.testing.assert_close(own[0], whole[0][part], atol=1e-4, rtol=1e-4)
            assert torch.equal(own[1], whole[1][part])


@pytest.mark.parametrize("transform", EVERYTHING[3:], ids=lambda one: one["method"])
def test_intensities_change_and_labels_do_not(transform: dict[str, Any]) -> None:
    (images, labels), (old_images, old_labels, _) = augment([transform])
    assert torch.equal(labels, old_labels)
    assert ((images - old_images).abs().amax((1, 2, 3, 4)) > 1e-3).all()
    (images, _), _ = augment([transform | {"probability": 0}])
    torch.testing.assert_close(images, old_images)


def test_blur_is_that_of_scipy_and_monai() -> None:
    from monai.networks.layers.simplelayers import GaussianFilter

    sigma = 1.3
    transform = {"method": "blur", **CERTAIN, "sigma_voxels": [sigma, sigma], "axes": ["x", "y"]}
    (images, _), (old, *_) = augment([transform])
    expected = gaussian_filter(old.numpy(), [0, 0, sigma, sigma, 0], mode="nearest")
    np.testing.assert_allclose(images, expected, atol=1e-5)
    # MONAI sees zeros beyond the crop.
    margin = 6
    peer = GaussianFilter(2, sigma, approx="sampled")(old[0, 0].movedim(-1, 0)[None])[0]
    inside = (slice(margin, -margin), slice(margin - 1, 1 - margin))
    torch.testing.assert_close(
        images[0, 0].movedim(-1, 0)[(..., *inside)], peer[(..., *inside)], atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("keep_statistics", [False, True])
def test_gamma_is_that_of_monai(inverted: bool, keep_statistics: bool) -> None:
    from monai.transforms.intensity.array import AdjustContrast

    options = {"inverted": inverted, "keep_statistics": keep_statistics}
    (images, _), (old, _, drawn) = augment([{"method": "gamma", **CERTAIN, **options}])
    for crop in range(2):
        gamma = float(drawn[0]["gamma"][crop])
        peer = AdjustContrast(gamma, inverted, keep_statistics)(old[crop])
        torch.testing.assert_close(images[crop], torch.as_tensor(peer), atol=1e-3, rtol=1e-3)


def test_contrast_keeps_mean_and_range() -> None:
    contrast = {"method": "intensity", "gain": 0.5, "offset": 0, "around": "mean"}
    (images, _), (old, _, drawn) = augment([contrast])
    gain = torch.from_numpy(drawn[0]["gain"])
    torch.testing.assert_close(images.mean((1, 2, 3, 4)), old.mean((1, 2, 3, 4)))
    torch.testing.assert_close(images.std((1, 2, 3, 4)), gain * old.std((1, 2, 3, 4)))
    (images, _), _ = augment([contrast | {"keep_range": True}])
    assert (images.amax((1, 2, 3, 4)) <= old.amax((1, 2, 3, 4))).all()


def test_low_resolution_is_a_coarser_grid() -> None:
    transform = {"method": "low_resolution", **CERTAIN, "zoom": [0.5, 0.5], "axes": ["x"]}
    (images, _), (old, *_) = augment([transform])
    coarse = functional.interpolate(old, (8, 12, 10), mode="nearest-exact")
    torch.testing.assert_close(images, functional.interpolate(coarse, PATCH, mode="trilinear"))


def test_noise_has_the_deviation_that_was_drawn() -> None:
    (images, _), (old, _, drawn) = augment([{"method": "noise", **CERTAIN}])
    deviation = (images - old).std((1, 2, 3, 4)).numpy()
    np.testing.assert_allclose(deviation, drawn[0]["deviation"], rtol=0.05)


@pytest.mark.parametrize("method", ["mirror", "affine", "noise", "gamma"])
def test_probability_is_a_share_of_the_crops(method: str) -> None:
    augmenter = make([{"method": method, "probability": 0.2}])
    [drawn] = augmenter.draw(np.random.default_rng(0), 2000)
    name = {"mirror": "axes", "affine": "chosen", "noise": "deviation", "gamma": "gamma"}[method]
    nothing = 1 if method == "gamma" else 0
    changed = (drawn[name].reshape(2000, -1) != nothing).any(axis=1)
    assert changed.mean() == pytest.approx(0.2, abs=0.03)


def test_slices_are_kept_unless_rotated_about_x_or_y() -> None:
    def margin(augmentation: Any) -> list[int]:
        return make(augmentation, (100, 100, 10)).margin

    assert margin({"rotation_deg": (0, 0, 10)}) == [15, 15, 0]
    assert margin({"rotation_deg": (0, 1, 10)}) == [15, 15, 2]
    assert margin({"affine_probability": 0}) == [0, 0, 0]
    assert margin([{"method": "affine", "rotation_deg": (0, 0, 10)}]) == [15, 15, 0]
    assert margin([{"method": "affine", "rotation_deg": (0, 0, 0), "in_plane": False}]) == [
        *(15, 15, 2)
    ]
    assert margin([{"method": "elastic"}, {"method": "noise"}]) == [15, 15, 0]
    assert margin([{"method": "noise"}]) == [0, 0, 0]


def test_crops_keep_their_margin_until_the_last_deformation() -> None:
    twice = [{"method": "affine", **CERTAIN}, {"method": "noise"}, {"method": "affine", **CERTAIN}]
    (images, labels), _ = augment(twice)
    assert images.shape == (2, 1, *PATCH)
    assert labels.shape == (2, *PATCH)


def test_mirrored_labels_exchange_pairs() -> None:
    renamed = mirrored_labels([("femur_l", "femur_r")], ["femur_r", "rectum", "femur_l"])
    assert renamed.tolist() == [0, 3, 2, 1]


def test_the_list_in_the_documentation_is_what_nnunet_draws() -> None:
    page = Path(__file__).parents[3] / "docs" / "nnunet.md"
    text = page.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    augmentation = yaml.safe_load(text)["augmentation"]
    drawn = make(augmentation).draw(np.random.default_rng(0), 2000)
    rotation, scale, _, _, brightness, contrast, _, inverted, gamma, mirrored = drawn
    angles = np.degrees(Rotation.from_matrix(rotation["matrix"]).as_rotvec())
    assert 29 < np.abs(angles).max() <= 30
    scales = 1 / scale["matrix"][:, [0, 1, 2], [0, 1, 2]]
    assert np.ptp(scales, axis=1).max() < 1e-6  # the same along every axis
    assert 0.7 <= scales.min() < 0.71
    assert 1.4 < scales.max() < 1.42
    for one in (brightness, contrast):
        assert 0.75 <= one["gain"].min() < 0.77
        assert (one["gain"] != 1).mean() == pytest.approx(0.15, abs=0.03)
    for one, share in ((inverted, 0.1), (gamma, 0.3)):
        assert 0.68 < one["gamma"].min() < one["gamma"].max() < 1.5
        assert (one["gamma"] != 1).mean() == pytest.approx(share, abs=0.03)
    assert mirrored["axes"].mean(axis=0) == pytest.approx(0.5, abs=0.04)
    (images, labels), _ = augment(augmentation)
    assert images.isfinite().all()
    assert labels.shape == (2, *PATCH)


class Halves:
    """A transform of a site's own: the image of a structure becomes half as bright, or none."""

    def __init__(self, structures: list[str], name: str = "right", factor: float = 0.5) -> None:
        self.label, self.factor = structures.index(name) + 1, factor

    def draw(self, random: np.random.Generator, count: int) -> Drawn:
        return {"factor": np.where(random.random(count) < 0.5, self.factor, 1).astype(np.float32)}

    def apply(
        self, images: Tensor, labels: Tensor, drawn: Drawn, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        factor = torch.from_numpy(drawn["factor"])[:, None, None, None, None]
        return torch.where((labels == self.label)[:, None], images * factor, images), labels


class Wrong(Halves):
    """Returns crops of another size."""

    def apply(self, images: Tensor, labels: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
        return images[..., 1:], labels


class Unsteady(Halves):
    """Draws for one crop only."""

    def draw(self, random: np.random.Generator, count: int) -> Drawn:
        return {"factor": np.ones(1)}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return Path(__file__).stem


def test_a_transform_of_ones_own(lab: str) -> None:
    own = {"_target_": f"{lab}.Halves", "factor": 0.25}
    for seed in range(3):
        (images, labels), (old, old_labels, drawn) = augment([own], seed)
        factor = torch.from_numpy(drawn[0]["factor"])[:, None, None, None, None]
        expected = torch.where((old_labels == 2)[:, None], old * factor, old)
        assert torch.equal(images, expected)
        assert torch.equal(labels, old_labels)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"_target_": "{lab}.Quarters"}, "training.augmentation.*cannot import .*Quarters"),
        ({"_target_": "{lab}.Halves", "power": 2}, "refuses its arguments: .*power"),
        ({"_target_": "{lab}.make"}, "is no transform"),
        ({"_target_": "{lab}.Wrong"}, "`apply` of .*Wrong does not return"),
        ({"_target_": "{lab}.Unsteady"}, "`draw` of .*Unsteady does not return one entry per crop"),
    ],
)
def test_a_wrong_transform_of_ones_own_is_named(
    own: dict[str, Any], message: str, lab: str
) -> None:
    target = own["_target_"].format(lab=lab)
    with pytest.raises(CrossfoldError, match=message):
        augment([own | {"_target_": target}])
