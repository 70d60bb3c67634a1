"""Which device, and which arithmetic, a network runs on."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from crossfold.errors import CrossfoldError


def select_device(name: str) -> torch.device:
    """Return a device by name; auto is a GPU where there is one.

    Raises
    ------
    CrossfoldError
        If there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CrossfoldError(
            f"training.device: {name!r} is no device", remedy="write auto, cpu or cuda"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CrossfoldError(
            f"training.device: {name}, but torch sees no GPU",
            remedy="write auto or cpu, or install a CUDA build of the same torch",
        )
    return device


def use_device(device: torch.device) -> None:
    """Make a GPU the one that this thread means when it names none."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def computes_in_bf16(precision: str, device: torch.device) -> bool:
    """Say whether the network runs in bf16: when asked to, or when auto and the processor can."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which the network is called."""
    if precision == "fp16":
        return torch.autocast(device.type, torch.float16)
    enabled = computes_in_bf16(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to a device; a GPU fetches it while the processor goes on."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def prepare_process(threads: int) -> None:
    """Set the number of threads, and make every operation repeatable."""
    torch.set_num_threads(threads)
    # Denormal numbers late in training cost a factor of ten on CPUs.
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
