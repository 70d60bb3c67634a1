"""The numbers of InnerEye's models, written down a second time and in its own order of axes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossfold.config.inheritance import shipped_bases
from crossfold.config.loading import load_config
from crossfold.config.models import ModelConfig
from crossfold.learning.networks import build_network, network_arguments

PAGE = Path(__file__).parents[3] / "docs" / "innereye.md"
NETWORKS = "crossfold.learning.networks"
POLYNOMIAL = {"method": "polynomial", "power": 0.9, "per": "epoch", "floor": 1e-5}
# What InnerEye takes as arguments.
GIVEN = {"ProstateBase": ["prostate", "bladder"], "HeadAndNeckBase": ["parotid_l", "parotid_r"]}
SEVEN = ["external", "femur_r", "femur_l", "rectum", "prostate", "bladder", "seminalvesicles"]
DICE = [("squared_dice", 1.0, 0.0)]
MIXTURE = [("focal", 0.5, 0.2), ("squared_dice", 0.5, 0.1)]
CT = ("ct_window", 50, 600)
MRI = ("mri_window", 2.5, 1)
# architecture, channels, crop, test crop, stride (z, y, x), batches of training and inference,
# epochs, save from, every, learning rate, lowest, power of the schedule, intensities, losses
TABLE: dict[str, tuple[Any, ...]] = {
    "ProstateBase": (
        *("UNet3D", 32, (64, 224, 224), (128, 512, 512), (64, 256, 256), 8, 1),
        *(120, 100, 20, 1e-3, 1e-5, 0.9, CT, DICE),
    ),
    "HeadAndNeckBase": (
        *("UNet3D", 32, (96, 288, 288), (144, 512, 512), (72, 256, 256), 4, 1),
        *(120, 120, 120, 1e-3, 1e-5, 0.9, CT, MIXTURE),
    ),
    "LungBase": (
        *("UNet3D", 32, (64, 224, 224), (128, 512, 512), (64, 256, 256), 8, 1),
        *(140, 100, 20, 1e-3, 1e-5, 0.9, ("ct_window", 40, 400), MIXTURE),
    ),
    "GbmBase": (
        *("UNet3D", 32, (64, 192, 160), (256, 320, 320), (128, 160, 160), 8, 1),
        *(200, 50, 10, 1e-3, 0.0, 0.9, MRI, DICE),
    ),
    "HippocampusBase": (
        *("UNet3D", 16, (128, 176, 176), (128, 176, 176), (128, 176, 176), 2, 1),
        *(200, 100, 50, 1e-3, 0.0, 0.9, MRI, DICE),
    ),
    "HelloWorld": (
        *("UNet3D", 4, (64, 64, 64), (64, 64, 64), (64, 64, 64), 2, 8),
        *(2, 1, 1, 1e-4, 0.0, 1e-4, ("ct_window", 50, 200), DICE),
    ),
    "BasicModel2Epochs": (
        # Of 64 voxels, Basic puts out 36, and that is its stride.
        *("Basic", [2] * 8, (64, 64, 64), (36, 36, 36), (36, 36, 36), 8, 8),
        *(2, 1, 1, 1e-4, 0.0, None, ("ct_window", 50, 200), DICE),
    ),
}
# As InnerEye logged them.
PARAMETERS = {"HelloWorld": 506_139, "ProstatePaper": 32_327_944, "LungBase": 32_327_878}


def model_of(base: str, **overrides: Any) -> ModelConfig:
    section = {"base": f"innereye.{base}", "dataset": "d"} | overrides
    if base in GIVEN:
        section["structures"] = GIVEN[base]
    raw = {"datasets": {"d": {"source": "phantom", "subjects": 8}}, "models": {"Mine": section}}
    return load_config(raw).model("Mine")


def turned(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(reversed(sizes))


@pytest.mark.parametrize("name", TABLE)
def test_a_base_has_the_numbers_of_innereye(name: str) -> None:
    model = model_of(name)
    training = model.training
    architecture, channels, crop, test_crop, stride, batch, test_batch, *more = TABLE[name]
    epochs, first, every, rate, lowest, power, intensities, losses = more
    assert model.network.target == f"{NETWORKS}.{architecture}"
    assert model.network.arguments == {"channels": channels}
    assert training.patch_size == turned(crop)
    window = crop if model.inference.window == "patch" else turned(model.inference.window)
    assert window == test_crop
    overlap = model.inference.overlap
    assert tuple(size * (1 - overlap) for size in test_crop) == stride
    assert (training.batch_size, model.inference.batch_size) == (batch, test_batch)
    checkpoints = training.checkpoints
    assert (training.epochs, checkpoints.first, checkpoints.every) == (epochs, first, every)
    assert (training.learning_rate, training.schedule.floor) == (rate, lowest)
    assert getattr(training.schedule, "power", None) == power
    found = model.preprocessing.normalisation.model_dump()
    assert tuple(value for key, value in found.items() if key != "output_range") == intensities
    assert found["output_range"] == (-1, 1)
    weighed = [(loss.method, loss.share, loss.class_weight_power) for loss in training.loss]
    assert weighed == losses


@pytest.mark.parametrize("name", TABLE)
def test_optimiser_and_augmentation_are_innereyes(name: str) -> None:
    training = model_of(name).training
    assert training.optimiser.model_dump() == {
        "method": "adam",
        "betas": (0.9, 0.999),
        "eps": 1e-4,
        "decoupled": False,
    }
    assert (training.weight_decay, training.seed, training.ema_decay) == (1e-4, 42, 0)
    changes = training.augmentation
    assert not any((changes.affine_probability, changes.gain, changes.offset, changes.gamma))
    assert not any((changes.mirror_axes, changes.noise, changes.bias_field))


@pytest.mark.parametrize(
    ("name", "background"),
    [
        *(("ProstateBase", 0.02), ("HeadAndNeckBase", 0.02), ("LungBase", 0.02)),
        *(("HelloWorld", 0.02), ("GbmBase", 1 / 2), ("HippocampusBase", 1 / 3)),
        ("BasicModel2Epochs", 1 / 4),
    ],
)
def test_crops_are_centred_as_in_innereye(name: str, background: float) -> None:
    model = model_of(name)
    weights = model.training.sampling.weights(model.structures)
    rest = (1 - background) / len(model.structures)
    assert weights == pytest.approx((background, *[rest] * len(model.structures)))


def test_channels_structures_and_what_follows_from_them() -> None:
    assert list(model_of("ProstatePaper").structures) == SEVEN
    assert model_of("ProstatePaper").postprocessing.smoothing_mm == (3, 2, 2)
    assert list(model_of("ProstatePaper").postprocessing.largest_component) == SEVEN[:-1]
    lung = model_of("Lung")
    assert lung.structures == ("spinalcord", "lung_r", "lung_l", "heart", "esophagus")
    assert lung.postprocessing.largest_component == ("lung_r", "lung_l", "heart")
    assert lung.splits.test == tuple(map(str, range(24)))
    assert model_of("GbmBase").test_epochs == tuple(range(50, 201, 10))
    basic = model_of("BasicModel2Epochs")
    assert (basic.images, basic.preprocessing.mask) == (("ct", "heart"), "heart")
    assert basic.training.schedule.model_dump(exclude={"floor"}) == {
        "method": "step",
        "every": 1,
        "factor": 0.9,
    }
    assert (basic.splits.train, basic.splits.val, basic.splits.test) == (("0", "1"), ("2",), ("5",))
    hello = model_of("HelloWorld")
    assert (hello.images, hello.preprocessing.mask) == (("channel1", "channel2"), "mask")
    assert (hello.splits.train, hello.splits.val) == (("1", "2", "3"), ("4", "5"))
    assert (hello.splits.test, hello.training.device) == (("6",), "cpu")


def test_head_and_neck_as_in_the_paper() -> None:
    model = model_of("HeadAndNeckPaper")
    assert len(model.structures) == 22
    assert model.network.arguments == {"channels": 26}
    steps = model.postprocessing
    assert [(rule.first, rule.second, rule.external) for rule in steps.summed_probability] == [
        ("spinal_cord", "brainstem", "external"),
        ("mpc_muscle", "spc_muscle", "external"),
        ("optic_chiasm", "pituitary_gland", "external"),
    ]
    assert [(rule.higher, rule.lower, rule.keep) for rule in steps.slice_exclusion] == [
        ("brainstem", "spinal_cord", "lower"),
        ("spc_muscle", "mpc_muscle", "lower"),
        ("optic_chiasm", "pituitary_gland", "higher"),
    ]
    assert steps.largest_component == model.structures


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_networks_have_as_many_parameters(name: str) -> None:
    model = model_of(name)
    arguments = network_arguments(
        model.network,
        images=len(model.images),
        structures=len(model.structures),
        spacing_mm=(1, 1, 3),
        patch_size=model.training.patch_size,
    )
    network = build_network(model.network.target, arguments)
    trained = sum(part.numel() for part in network.parameters() if part.requires_grad)
    assert trained == PARAMETERS[name]


@pytest.mark.parametrize("name", shipped_bases())
def test_every_base_is_a_part_of_a_configuration(name: str) -> None:
    assert shipped_bases()[name]["abstract"] is True


def test_the_page_names_every_base_and_its_example_is_one() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = page.partition("## Its models")[2]
    for name in shipped_bases():
        short = name.removeprefix("innereye")
        assert f"`{name}`" in table or f"`{short}`" in table or short == ".LargeModelBase"
    example = page[page.index("    models:\n") :].partition("\n\n")[0]
    raw = yaml.safe_load(textwrap.dedent(example))
    raw["datasets"] = {"my_pelvis": {"source": "phantom", "subjects": 8}}
    training = load_config(raw).model("MyProstate").training
    assert (training.iterations_per_epoch, training.batch_size) == (12, 8)
