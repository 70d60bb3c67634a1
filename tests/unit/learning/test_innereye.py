"""Checkpoints of InnerEye: files of its format, and what they compute by its description."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from crossfold.errors import CrossfoldError
from crossfold.learning.innereye import read_innereye
from crossfold.learning.networks import Basic, UNet2D, UNet3D

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, width: int) -> Shapes:
    vectors = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{vector}": (width,) for vector in vectors} | {
        f"{name}.num_batches_tracked": ()
    }


def unet_shapes(images: int, classes: int, width: int, kernel: tuple[int, ...]) -> Shapes:
    """Names and shapes in a checkpoint of UNet3D or UNet2D; kernels (z, y, x)."""
    wide = tuple(4 if size > 1 else 1 for size in kernel)
    shapes: Shapes = {}
    features = images
    for level in range(5):
        here = width * 2**level
        for block, inputs in (("block1", features), ("block2", here)):
            name = f"_layers.{level}.{block}"
            shapes |= {f"{name}.conv1.weight": (here, inputs, *kernel)} | norm(f"{name}.bn1", here)
        features = here
    for step in range(4):
        here = features // 2
        up, merge = f"_layers.{5 + 2 * step}.upsample_block", f"_layers.{6 + 2 * step}"
        shapes |= {f"{up}.0.weight": (features, here, *wide), f"{up}.0.bias": (here,)}
        shapes |= norm(f"{up}.1", here) | norm(f"{merge}.activation_block.0", here)
        for layer in ("conv1.conv1", "conv2.conv1", "block2.conv1"):
            shapes[f"{merge}.{layer}.weight"] = (here, here, *kernel)
        shapes |= norm(f"{merge}.block2.bn1", here)
        features = here
    return shapes | {
        "output_layer.weight": (classes, width, 1, 1, 1),
        "output_layer.bias": (classes,),
    }


def basic_shapes(images: int, classes: int, channels: list[int]) -> Shapes:
    def layer(name: str, inputs: int, width: int, size: int = 3) -> Shapes:
        weight = {f"{name}.conv1.weight": (width, inputs, size, size, size)}
        return weight | {f"{name}.conv1.bias": (width,)} | norm(f"{name}.bn1", width)

    every = [images, *channels]
    shapes = layer("_layers.0", *every[:2]) | layer("_layers.1", *every[1:3])
    for block in range(3):
        first, middle, last = every[2 + 2 * block : 5 + 2 * block]
        name = f"_layers.{2 + block}"
        shapes |= layer(f"{name}.layers.0", first, middle)
        shapes |= layer(f"{name}.layers.1", middle, last)
        if first != last:
            shapes |= layer(f"{name}.conv", first, last, size=1)
    return shapes | {
        "_layers.5.weight": (classes, every[-1], 1, 1, 1),
        "_layers.5.bias": (classes,),
    }


def random_state(shapes: Shapes) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.tensor(3) if not shape else torch.rand(shape) * (0.3 if len(shape) == 5 else 1)
        for name, shape in shapes.items()
    }


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"epoch": 120, "state_dict": state, "opt_dict": {"param_groups": []}}, path)
    return path


class Described:
    """The networks as described, in axes (z, y, x), with functions instead of modules."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def norm(self, image: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            self.state[f"{name}.{key}"][:, None, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return (image - mean) / (variance + 1e-5).sqrt() * weight + bias

    def convolve(self, image: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        """Convolve with zero padding; neither stride nor dilation along an axis of kernel 1."""
        weight = self.state[f"{name}.weight"]
        thick = [size > 1 for size in weight.shape[2:]]
        dilations = [dilation if axis else 1 for axis in thick]
        return functional.conv3d(
            image,
            weight,
            stride=[stride if axis else 1 for axis in thick],
            padding=[d if axis else 0 for d, axis in zip(dilations, thick, strict=True)],
            dilation=dilations,
        )

    def layer(self, image: Tensor, name: str, stride: int = 1, dilation: int = 1) -> Tensor:
        return self.norm(
            self.convolve(image, f"{name}.conv1", stride, dilation), f"{name}.bn1"
        ).relu()

    def unet(self, image: Tensor, dilation: int) -> Tensor:
        skipped = []
        for level in range(5):
            name = f"_layers.{level}"
            image = self.layer(image, f"{name}.block1", stride=2 if level else 1)
            image = self.layer(image, f"{name}.block2", dilation=dilation if level else 1) + image
            skipped.append(image)
        skipped.pop()
        for step in range(4):
            up, merge = f"_layers.{5 + 2 * step}.upsample_block", f"_layers.{6 + 2 * step}"
            weight = self.state[f"{up}.0.weight"]
            thick = [size > 1 for size in weight.shape[2:]]
            image = functional.conv_transpose3d(
                image,
                weight,
                self.state[f"{up}.0.bias"],
                stride=[2 if axis else 1 for axis in thick],
                padding=[1 if axis else 0 for axis in thick],
            )
            image = self.norm(image, f"{up}.1").relu()
            image = self.convolve(image, f"{merge}.conv1.conv1") + self.convolve(
                skipped.pop(), f"{merge}.conv2.conv1"
            )
            image = self.norm(image, f"{merge}.activation_block.0").relu()
            image = self.layer(image, f"{merge}.block2") + image
        return functional.conv3d(
            image, self.state["output_layer.weight"], self.state["output_layer.bias"]
        )

    def unpadded(self, image: Tensor, name: str, dilation: int = 1) -> Tensor:
        weight, bias = (self.state[f"{name}.conv1.{key}"] for key in ("weight", "bias"))
        return self.norm(functional.conv3d(image, weight, bias, dilation=dilation), f"{name}.bn1")

    def basic(self, image: Tensor) -> Tensor:
        for number in (0, 1):
            image = self.unpadded(image, f"_layers.{number}").relu()
        for number in (2, 3, 4):
            name, centre = f"_layers.{number}", image[:, :, 4:-4, 4:-4, 4:-4]
            image = self.unpadded(image, f"{name}.layers.0", 2).relu()
            image = self.unpadded(image, f"{name}.layers.1", 2)
            if f"{name}.conv.conv1.weight" in self.state:
                centre = self.unpadded(centre, f"{name}.conv")
            image = (image + centre).relu()
        return functional.conv3d(
            image, self.state["_layers.5.weight"], self.state["_layers.5.bias"]
        )


def turned(image: Tensor) -> Tensor:
    return image.permute(0, 1, 4, 3, 2)


@pytest.mark.parametrize("prefix", ["", "module."])
@torch.no_grad()
def test_unet3d_computes_what_innereye_computes(tmp_path: Path, prefix: str) -> None:
    state = random_state(unet_shapes(2, 3, 2, (3, 3, 3)))
    path = write(
        tmp_path / "120_checkpoint.pth.tar", {prefix + name: t for name, t in state.items()}
    )
    network = UNet3D(2, 3, channels=2).eval()
    network.load_state_dict(read_innereye(path))
    image = torch.randn(1, 2, 16, 32, 48)
    torch.testing.assert_close(network(image), turned(Described(state).unet(turned(image), 1)))


@torch.no_grad()
def test_unet2d_computes_what_innereye_computes(tmp_path: Path) -> None:
    state = random_state(unet_shapes(1, 2, 2, (1, 3, 3)))
    network = UNet2D(1, 2, channels=2).eval()
    network.load_state_dict(read_innereye(write(tmp_path / "1_checkpoint.pth.tar", state)))
    image = torch.randn(1, 1, 32, 16, 3)
    torch.testing.assert_close(network(image), turned(Described(state).unet(turned(image), 2)))


@torch.no_grad()
def test_basic_computes_what_innereye_computes(tmp_path: Path) -> None:
    channels = [2, 2, 3, 3, 2, 2, 2, 2]
    state = random_state(basic_shapes(1, 2, channels))
    network = Basic(1, 2, channels=channels).eval()
    network.load_state_dict(read_innereye(write(tmp_path / "2_checkpoint.pth.tar", state)))
    image = torch.randn(1, 1, 29, 31, 33)
    torch.testing.assert_close(network(image), turned(Described(state).basic(turned(image))))


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_hostile_pickle_does_not_run(tmp_path: Path, how: str) -> None:
    mark, path = tmp_path / "it ran", tmp_path / "9_checkpoint.pth.tar"
    content = {"epoch": 9, "state_dict": random_state({"a": (2,)}), "opt_dict": Hostile(mark)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content["opt_dict"]))
    with pytest.raises(CrossfoldError, match=f"{re.escape(str(path))}: refused"):
        read_innereye(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Hostile(mark)))
    assert mark.exists(), "it would have run"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1}, "there is no `state_dict`"),
        ([1, 2], "there is no `state_dict`"),
        ({"state_dict": {"a": 1}}, "there is no `state_dict` of tensors"),
        ({"state_dict": {"resnet.conv1.weight": torch.zeros(1)}}, "neither a UNet3D.*resnet"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "file.pth.tar"
    torch.save(content, path)
    with pytest.raises(CrossfoldError, match=message):
        read_innereye(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "file.pth.tar", random_state({"a": (2,)}))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CrossfoldError, match="refused, because it is damaged"):
        read_innereye(path)
