"""Training one network on several devices, each of which sees a share of every batch.

One process per device. What a loss, a normalisation or a score sums over the batch is summed over
all processes, so that the result is that of one process with the whole batch, but for rounding.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from crossfold.learning.devices import select_device
from crossfold.learning.sampling import Share

T = TypeVar("T")


def processes() -> int:
    """Return how many processes train the network."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; the first one, 0, alone writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def own_device(name: str) -> torch.device:
    """Return the device of this process."""
    device = select_device(name)
    if processes() > 1 and device.type == "cuda":
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def seed_share(seed: int, epoch: int) -> None:
    """Let dropout draw in each of several processes for itself, whatever was drawn before."""
    if processes() > 1:
        sequence = np.random.SeedSequence([seed, epoch, rank()])
        torch.manual_seed(int(sequence.generate_state(1)[0]))


def own_share(total: int) -> Share:
    """Return which crops of a batch this process works on."""
    each = total // processes()
    return Share(slice(rank() * each, (rank() + 1) * each), total)


def summed(value: Tensor) -> Tensor:
    """Return the sum over all processes; gradients go back to each of them."""
    return _Sum.apply(value) if processes() > 1 else value


def averaged(value: float) -> float:
    """Return the mean over all processes."""
    if processes() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) / processes()


def of_first(make: Callable[[], T]) -> T:
    """Return what the first process makes, in all of them."""
    if processes() == 1:
        return make()
    box: list[Any] = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    made: T = box[0]
    return made


class _Sum(torch.autograd.Function):
    """A sum over processes: every one of them depends on the value of every other."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


class _SharedBatchNorm(_BatchNorm):
    """Batch normalisation over the crops of all processes, which torch has for GPUs only."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (crop, channel, …)."""
        if not self.training:
            return super().forward(input)
        values = input.float()
        others = [axis for axis in range(values.ndim) if axis != 1]
        count = values.numel() // values.shape[1] * processes()

        def mean(of: Tensor) -> Tensor:
            return summed(of.sum(others)) / count

        def per_channel(of: Tensor) -> Tensor:
            return of.view(1, -1, *[1] * (values.ndim - 2))

        centre = mean(values)
        values = values - per_channel(centre)
        variance = mean(values**2)
        self._follow(centre.detach(), variance.detach() * count / (count - 1))
        values = values * per_channel((variance + self.eps).rsqrt())
        if self.affine:
            values = values * per_channel(self.weight) + per_channel(self.bias)
        return values.to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics follow those of this batch."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        tracked = float(self.num_batches_tracked)
        weight = 1 / tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance, weight)


def with_shared_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose batch normalisation sees the crops of all processes.

    Names and values of its weights stay as they are.
    """
    if processes() == 1:
        return network
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if isinstance(network, _BatchNorm):
        shared = _SharedBatchNorm(
            network.num_features,
            network.eps,
            network.momentum,
            network.affine,
            network.track_running_stats,
        )
        shared.load_state_dict(network.state_dict())
        return shared
    for name, part in network.named_children():
        setattr(network, name, with_shared_norms(part, device))
    return network


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network whose gradients are the mean over all processes."""
    if processes() == 1:
        return network
    # Of a kernel of one voxel, every layout is the same.
    warnings.filterwarnings("ignore", message="Grad strides do not match")
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=ids)
