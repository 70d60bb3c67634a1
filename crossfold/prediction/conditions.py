"""What prediction needs of a machine, asked for before anything is computed."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from crossfold.errors import CrossfoldError
from crossfold.learning.devices import select_device
from crossfold.prediction.memory import FULL

logger = logging.getLogger("crossfold")


def require_device(name: str) -> torch.device:
    """Return a device by its name.

    Raises
    ------
    CrossfoldError
        If this machine does not have it.
    """
    try:
        device = select_device(name)
    except CrossfoldError as error:
        message = error.message.removeprefix("training.device: ")
        raise CrossfoldError(f"--device: {message}", remedy=error.remedy) from error
    there = torch.cuda.device_count() if device.type == "cuda" else int(device.type == "cpu")
    if (device.index or 0) >= there:
        raise CrossfoldError(
            f"--device: there is no {name} here", remedy="write auto, cpu, cuda or cuda:0"
        )
    return device


def require_folder(folder: Path) -> None:
    """Make a folder, if it is not there.

    Raises
    ------
    CrossfoldError
        If that is impossible, or nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            return  # said with how much is missing, when it is known
        reason = getattr(error, "strerror", None) or error
        raise CrossfoldError(
            f"--output {folder}: cannot be written to ({reason})",
            remedy="name another folder",
        ) from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder, and let nobody else predict into it: what two write would be mixed.

    Raises
    ------
    CrossfoldError
        If somebody does, or as `require_folder`.
    """
    require_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CrossfoldError(
                f"--output {folder}: another command is predicting into it",
                remedy="wait for its end, or name another folder",
            ) from error
        except OSError as error:
            logger.debug("%s cannot be locked: %s", folder, error)  # on some network file systems
        yield
    finally:
        os.close(descriptor)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether memory is what is missing; torch has no type for that on a processor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error)
