from __future__ import annotations

import pytest
import torch

from crossfold.config.learning import NetworkConfig
from crossfold.errors import CrossfoldError
from crossfold.learning.networks import (
    UNet,
    build_network,
    divisor_of,
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
    assert divisor_of(arguments) == (4, 4, 4)
    network = build_network(config.target, arguments).eval()
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


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
