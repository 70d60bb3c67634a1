"""InnerEye's networks, against the numbers of parameters that it logged and its description."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crossfold.errors import CrossfoldError
from crossfold.learning.networks import Basic, UNet2D, UNet3D


@pytest.mark.parametrize(
    ("images", "structures", "channels", "parameters"),
    [
        pytest.param(2, 2, 4, 506_139, id="HelloWorld"),
        pytest.param(1, 7, 32, 32_327_944, id="ProstatePaper"),
        pytest.param(1, 4, 32, 32_327_845, id="Prostate"),
        pytest.param(1, 5, 32, 32_327_878, id="Lung"),
        pytest.param(1, 10, 32, 32_328_043, id="HeadAndNeck with 10 structures"),
        pytest.param(1, 22, 26, 21_343_189, id="HeadAndNeckPaper with 22 structures"),
    ],
)
def test_unet3d_has_as_many_parameters_as_innereye_logged(
    images: int, structures: int, channels: int, parameters: int
) -> None:
    with torch.device("meta"):
        network = UNet3D(images, structures + 1, channels=channels)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == parameters


def test_unet3d_keeps_the_grid() -> None:
    assert UNet3D(2, 3, channels=2).eval()(torch.zeros(1, 2, 32, 16, 48)).shape == (
        1,
        3,
        32,
        16,
        48,
    )


def test_weights_start_as_those_of_innereye() -> None:
    torch.manual_seed(0)
    network = UNet3D(1, 2, channels=16)
    stage = network.encoder[2]
    convolution, norm = stage.first[0], stage.first[1]
    assert convolution.bias is None
    # Kaiming for ReLU: variance 2 / fan in.
    assert convolution.weight.var().item() == pytest.approx(2 / (32 * 27), rel=0.05)
    assert norm.weight.std().item() == pytest.approx(0.01, rel=0.4)
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.01)
    assert network.head.bias is not None


def test_unet2d_sees_every_slice_for_itself() -> None:
    torch.manual_seed(0)
    network = UNet2D(1, 2, channels=2).eval()
    image = torch.randn(1, 1, 32, 32, 5)
    changed = image.clone()
    changed[..., 3] += 1
    before, after = network(image), network(changed)
    assert before.shape == (1, 2, 32, 32, 5)
    different = (before - after).abs().amax(dim=(0, 1, 2, 3))
    assert (different[[0, 1, 2, 4]] == 0).all()
    assert different[3] > 0
    kernels = {m.kernel_size for m in network.modules() if isinstance(m, nn.Conv3d)}
    assert kernels == {(3, 3, 1), (1, 1, 1)}
    dilations = [m.dilation for m in network.encoder.modules() if isinstance(m, nn.Conv3d)]
    # Dilated is the second convolution of every level but the first.
    assert dilations == [(1, 1, 1), (1, 1, 1), *[(1, 1, 1), (2, 2, 1)] * 4]


def test_basic_loses_28_voxels_and_sees_29() -> None:
    """A voxel far from the border depends on just the 29 voxels around it."""
    torch.manual_seed(0)
    network = Basic(1, 2, channels=[2] * 8).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv3d):
                module.weight.fill_(0.1)
    image = torch.ones(1, 1, 61, 31, 29, requires_grad=True)
    output = network(image)
    assert output.shape == (1, 2, 33, 3, 1)
    assert network.margin == (14, 14, 14)
    output[0, 1, 16, 1, 0].backward()
    assert image.grad is not None
    along_x = image.grad.abs().sum(dim=(0, 1, 3, 4)).nonzero().flatten()
    assert [along_x.min().item(), along_x.max().item()] == [30 - 14, 30 + 14]


def test_basic_has_the_parameters_of_its_description() -> None:
    """BasicModel2Epochs: 2 images, 3 structures, eight times 2 channels, counted by hand."""
    first, others = 2 * 2 * 27 + 2, 7 * (2 * 2 * 27 + 2)
    normalisation, last = 8 * 4, 2 * 4 + 4
    network = Basic(2, 4, channels=[2] * 8)
    assert sum(p.numel() for p in network.parameters()) == first + others + normalisation + last
    wider = Basic(2, 4, channels=[2, 2, 3, 3, 3, 3, 3, 3])
    assert isinstance(wider.residual[0].shortcut, nn.Sequential)
    assert isinstance(wider.residual[1].shortcut, nn.Identity)


def test_basic_adds_what_came_before_from_the_centre() -> None:
    """With all convolutions 0, a residual block passes on the centre of its input."""
    network = Basic(1, 2, channels=[2] * 8).eval()
    block = network.residual[0]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    image = torch.rand(1, 2, 12, 10, 9)
    torch.testing.assert_close(block(image), image[:, :, 4:-4, 4:-4, 4:-4])


@pytest.mark.parametrize("axes", ["x", "xy", "xyz"])
def test_flipped_axes_are_those_of_a_flipped_image(axes: str) -> None:
    torch.manual_seed(0)
    plain = UNet3D(1, 2, channels=1).eval()
    turned = UNet3D(1, 2, channels=1, flip_axes=axes).eval()  # type: ignore[arg-type]
    turned.load_state_dict(plain.state_dict())
    dims = [2 + "xyz".index(axis) for axis in axes]
    image = torch.randn(1, 1, 16, 16, 16)
    torch.testing.assert_close(turned(image.flip(dims)), plain(image).flip(dims))


def test_errors_say_what_to_change() -> None:
    with pytest.raises(CrossfoldError, match=r"kernel_size: 4 is not odd"):
        UNet3D(1, 2, kernel_size=4)
    with pytest.raises(CrossfoldError, match=r"channels: 3 numbers for the eight"):
        Basic(1, 2, channels=[2, 2, 2])
    with pytest.raises(CrossfoldError, match=r"more than 28 voxels.*\n.*patch_size"):
        Basic(1, 2, channels=[2] * 8)(torch.zeros(1, 1, 40, 28, 40))
