"""Starting one process per device, as torchrun does."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist

from crossfold.config.learning import TrainingConfig
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.learning.devices import select_device

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def devices_of(config: TrainingConfig) -> int:
    """Return how many devices share the batches of a training here.

    Raises
    ------
    CrossfoldError
        If there are not as many.
    """
    if config.devices == 1:
        return 1
    device = select_device(config.device)
    seen = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.index is not None:
        seen = 1
    if config.devices == "auto":
        size = config.batch_size
        return max(n for n in range(1, size + 1) if size % n == 0 and n <= max(seen, 1))
    if device.type == "cuda" and config.devices > seen:
        raise CrossfoldError(
            f"training.devices: {config.devices}, but "
            + (f"torch sees {seen} GPU(s)" if device.index is None else f"device is {device}"),
            remedy="write auto" if device.index is None else "write `device: cuda`",
        )
    return config.devices


def on_all_devices(train: Callable[P, T]) -> Callable[P, T]:
    """Run a function in one process per device where its keyword `config` names several.

    It returns what the first process returns. With a keyword `give_up`, a function of the caller's
    process, it stays in that process.
    """

    @functools.wraps(train)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        config = kwargs["config"]
        assert isinstance(config, TrainingConfig)
        stays = dist.is_initialized() or kwargs.get("give_up")
        count = 1 if stays else devices_of(config)
        if count == 1:
            return train(*args, **kwargs)
        return _launch(count, functools.partial(call, *args, **kwargs), config.device)

    return call


@dataclass(frozen=True)
class _LogFile:
    """Where this process logs to, and how, for another one to go on there."""

    path: str
    level: int
    formatter: logging.Formatter | None

    def open(self) -> None:
        """Log to the end of the file."""
        handler = logging.FileHandler(self.path, encoding="utf-8")
        handler.setFormatter(self.formatter)
        logging.basicConfig(level=self.level, handlers=[handler])
        logging.captureWarnings(True)


def _launch(count: int, task: Callable[[], T], device: str) -> T:
    """Start processes as torchrun does, and wait for them; where one ends early, end all."""
    # Half a second that a training on one device does not need.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    local = "127.0.0.1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint=f"{local}:0",
        local_addr=local,
        max_restarts=0,
    )
    # Of every change of state, it tells the log file.
    logging.getLogger("torchelastic-events-null").disabled = True
    logger.info("trained by %d processes, one per device", count)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _empty_main():
                results = elastic_launch(config, _process)(task, device, Path(folder), _log_file())
        except ChildFailedError as failed:
            codes = {number: failure.exitcode for number, failure in failed.failures.items()}
            raise _cause(Path(folder), codes, count) from None
    return results[0]


def _cause(folder: Path, codes: Mapping[int, int], count: int) -> Exception:
    """Return the error to raise: of those of the processes, the one that led to the others."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    errors: list[Exception] = [pickle.loads(file.read_bytes()) for file in files]
    told = [error for error in errors if isinstance(error, CrossfoldError)]
    # Those that wait for a process that was killed lose their connection.
    killed = [(number, code) for number, code in codes.items() if code < 0]
    if told or (errors and not killed):
        return (told or errors)[0]
    number, code = (killed or [*codes.items()])[0]
    return CrossfoldError(
        f"process {number + 1} of {count} of the training has ended with exit code {code}",
        remedy="look for a lack of memory; the same command continues after the last whole epoch",
    )


@contextlib.contextmanager
def _empty_main() -> Iterator[None]:
    """Hide the script that is running: new processes would run it again to find the task in it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _process(task: Callable[[], T], device: str, folder: Path, log: _LogFile | None) -> T:
    """Do the task of one process; an error is left in the folder for the one that waits."""
    if log and os.environ["RANK"] == "0":
        log.open()
    try:
        on_gpu = select_device(device).type == "cuda"
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        # Objects and losses go between processors, gradients between GPUs.
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
        result = task()
        dist.barrier()
    except Exception as error:
        mendable = isinstance(error, CrossfoldError)
        kept = error if mendable else RuntimeError(traceback.format_exc())
        with atomic_path(folder / os.environ["RANK"]) as temporary:
            temporary.write_bytes(pickle.dumps(kept))
        raise
    dist.destroy_process_group()
    return result


def _log_file() -> _LogFile | None:
    root = logging.getLogger()
    files = [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]
    return _LogFile(files[0].baseFilename, root.level, files[0].formatter) if files else None
