"""Networks: the default U-Net, InnerEye's, and those of others by import path."""

from crossfold.data.topology import Triple, plan_topology
from crossfold.learning.networks.building import (
    build_network,
    divisor_of,
    first_stride,
    network_arguments,
    pad_to_network,
)
from crossfold.learning.networks.innereye import Basic, UNet2D, UNet3D
from crossfold.learning.networks.outputs import centre_crop, heads_of, margin_of
from crossfold.learning.networks.unet import UNet

# Checkpoints name their network by its path in this module: crossfold.learning.networks.UNet.
__all__ = [
    "Basic",
    "Triple",
    "UNet",
    "UNet2D",
    "UNet3D",
    "build_network",
    "centre_crop",
    "divisor_of",
    "first_stride",
    "heads_of",
    "margin_of",
    "network_arguments",
    "pad_to_network",
    "plan_topology",
]
