"""What a training takes of the machine, looked at in the background."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pynvml  # type: ignore[import-untyped]
import torch

_PROC = Path("/proc")


class ResourceMonitor:
    """Looks at processor, memory and GPU now and then, in a thread of its own.

    Names are InnerEye's, and two of this process: `CPU/Load_Percent`, `CPU/MemUtil_Percent` (both
    of the machine), `CPU/Process_Percent` (100 is one core), `CPU/Process_GB`; `GPU/Load_Percent`,
    `GPU/MemUtil_Percent`, `GPU/MemReserved_GB`, `GPU/MemAllocated_GB`. What a system does not tell
    is left out.

    Parameters
    ----------
    device
        Where the network runs.
    every_s
        Seconds between two looks.
    tell
        Called with every look: seconds since the start, and values by name.
    """

    def __init__(
        self, device: torch.device, every_s: float, tell: Callable[[float, dict[str, float]], None]
    ) -> None:
        self._device, self._every_s, self._tell = device, every_s, tell
        self._started = time.perf_counter()
        self._ended = threading.Event()
        self._looks: list[dict[str, float]] = []
        self._before = _times()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        now = _times()
        values = _processor(self._before, now) | _memory() | _gpu(self._device)
        self._before = now
        self._looks.append(values)
        self._tell(time.perf_counter() - self._started, values)

    def stop(self) -> None:
        """Look once more, and end."""
        self._ended.set()
        self._thread.join()
        self._look()

    def summary(self) -> dict[str, dict[str, float]]:
        """Return mean and maximum of everything, by name."""
        names = dict.fromkeys(name for values in self._looks for name in values)
        columns = {name: [look[name] for look in self._looks if name in look] for name in names}
        return {
            name: {"mean": round(sum(values) / len(values), 2), "max": round(max(values), 2)}
            for name, values in columns.items()
        }


def _times() -> dict[str, float]:
    """Return clocks in s: of the wall, of this process, and of the machine's cores."""
    times = {"wall": time.perf_counter(), "process": time.process_time()}
    with contextlib.suppress(OSError):  # only Linux has it
        first = (_PROC / "stat").read_text().split("\n", 1)[0].split()
        ticks = [int(number) for number in first[1:9]]
        per_second = os.sysconf("SC_CLK_TCK")
        idle = ticks[3] + ticks[4]
        times["busy"] = (sum(ticks) - idle) / per_second
        times["all"] = sum(ticks) / per_second
    return times


def _processor(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    passed = {name: now[name] - before[name] for name in now if name in before}
    values = {}
    if passed["wall"] > 0:
        values["CPU/Process_Percent"] = 100 * passed["process"] / passed["wall"]
    if passed.get("all", 0) > 0:
        values["CPU/Load_Percent"] = 100 * passed["busy"] / passed["all"]
    return values


def _memory() -> dict[str, float]:
    values = {}
    with contextlib.suppress(OSError):
        lines = (line.partition(":") for line in (_PROC / "meminfo").read_text().splitlines())
        kib = {name: int(rest.split()[0]) for name, _, rest in lines}
        values["CPU/MemUtil_Percent"] = 100 * (1 - kib["MemAvailable"] / kib["MemTotal"])
        pages = int((_PROC / "self/statm").read_text().split()[1])
        values["CPU/Process_GB"] = pages * os.sysconf("SC_PAGE_SIZE") / 2**30
    return values


def _gpu(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    values = {
        "GPU/MemReserved_GB": torch.cuda.memory_reserved(device) / 2**30,
        "GPU/MemAllocated_GB": torch.cuda.memory_allocated(device) / 2**30,
    }
    with contextlib.suppress(pynvml.NVMLError):  # a container may hide it
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        values["GPU/Load_Percent"] = float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        values["GPU/MemUtil_Percent"] = 100 * memory.used / memory.total
    return values
