from __future__ import annotations

import pytest
import torch

from crossfold.config.learning import NetworkConfig
from crossfold.errors import CrossfoldError
from crossfold.learning.networks import (
    Triple,
    UNet,
    build_network,
    divisor_of,
    first_stride,
    network_arguments,
    pad_to_network,
    plan_topology,
)

DATA = {"images": 1, "structures": 2, "spacing_mm": (1, 1, 1), "patch_size": (32, 32, 32)}


def test_isotropic_voxels_are_halved_in_every_direction() -> None:
    kernels, strides = plan_topology(4, (1, 1, 1), (32, 48, 32))
    assert kernels == [(3, 3, 3)] * 4
    assert strides == [(2, 2, 2)] * 3


def test_thick_slices_are_kept_until_voxels_are_isotropic() -> None:
    kernels, strides = plan_topology(4, (2, 2, 3.6), (48, 48, 16))
    assert kernels == [(3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert strides == [(2, 2, 1), (2, 2, 2), (2, 2, 2)]


def test_a_short_axis_is_never_reduced_below_three_voxels() -> None:
    _, strides = plan_topology(4, (1, 1, 1), (64, 64, 8))
    assert [stride[2] for stride in strides] == [2, 1, 1]


def test_unet_keeps_the_grid_and_its_size_is_known() -> None:
    arguments = network_arguments(NetworkConfig(), **DATA)
    network = build_network("crossfold.learning.networks.UNet", arguments)
    assert sum(p.numel() for p in network.parameters()) == 1_387_411
    assert network(torch.zeros(2, 1, 32, 24, 16)).shape == (2, 3, 32, 24, 16)


@pytest.mark.parametrize("target", ["subprocess.check_output", "torch.nn.functional.conv3d"])
def test_nothing_but_a_network_is_called(target: str) -> None:
    with pytest.raises(CrossfoldError, match=rf"{target} is no class of torch\.nn\.Module"):
        build_network(target, {})


def test_a_network_of_monai_by_import_path() -> None:
    config = NetworkConfig(
        _target_="monai.networks.nets.DynUNet",
        kernel_size=[3, 3, 3],
        strides=[1, 2, 2],
        upsample_kernel_size=[2, 2],
        filters=[4, 8, 16],
    )
    arguments = network_arguments(config, **DATA)
    assert arguments["spatial_dims"] == 3
    assert divisor_of(config.target, arguments) == (4, 4, 4)
    network = build_network(config.target, arguments).eval()
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


@pytest.mark.parametrize(
    ("target", "arguments", "divisor", "stride"),
    [
        ("crossfold.learning.networks.UNet3D", {}, (16, 16, 16), (2, 2, 2)),
        ("crossfold.learning.networks.UNet2D", {}, (16, 16, 1), (2, 2, 1)),
        ("crossfold.learning.networks.Basic", {}, (1, 1, 1), (1, 1, 1)),
        ("monai.networks.nets.SegResNet", {}, (8, 8, 8), (2, 2, 2)),
        ("monai.networks.nets.SegResNet", {"blocks_down": [1, 2]}, (2, 2, 2), (2, 2, 2)),
        ("monai.networks.nets.SwinUNETR", {}, (32, 32, 32), (2, 2, 2)),
        ("monai.networks.nets.SwinUNETR", {"spatial_dims": 2}, (32, 32, 1), (2, 2, 1)),
        (
            "monai.networks.nets.UNet",
            {"spatial_dims": 2, "channels": [4, 8, 16], "strides": [2, [2, 1]]},
            (4, 2, 1),
            (2, 2, 1),
        ),
        ("monai.networks.nets.BasicUNet", {"features": [4] * 6}, (32, 32, 32), (2, 2, 2)),
    ],
)
def test_what_a_network_needs_of_an_image(
    target: str, arguments: dict[str, object], divisor: Triple, stride: Triple
) -> None:
    assert divisor_of(target, arguments) == divisor
    assert first_stride(target, arguments) == stride


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_target_": "crossfold.learning.networks.VNet"}, "cannot import"),
        ({"_target_": "no_such_package.Net"}, "cannot import"),
        ({"chanels": [8, 16]}, "network.chanels.*takes no such argument"),
    ],
)
def test_errors_name_the_key(config: dict[str, object], message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        network_arguments(NetworkConfig(**config), **DATA)


def test_channels_and_strides_have_to_agree() -> None:
    with pytest.raises(CrossfoldError, match=r"3 `channels`.*1 `strides`"):
        UNet(1, 2, channels=(4, 8, 16), strides=[(2, 2, 2)])


@pytest.mark.parametrize(
    ("size", "padded"),
    [((5, 9, 16), (8, 16, 16)), ((1, 1, 1), (8, 8, 8)), ((12, 16, 16), (24, 16, 16))],
)
def test_padding_avoids_two_voxels_along_x_at_the_bottleneck(
    size: tuple[int, ...], padded: tuple[int, ...]
) -> None:
    image = torch.ones(1, *size)
    result = pad_to_network(image, (8, 8, 8))
    assert result.shape[1:] == padded
    assert result.sum() == image.sum()
