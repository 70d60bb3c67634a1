"""What a training ran on and what it cost, as far as the machine tells."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pynvml  # type: ignore[import-untyped]
import torch

from crossfold.images import atomic_path

_ENERGY_COUNTERS = Path("/sys/class/powercap")


class Meter:
    """Measures a job from its construction on.

    Parameters
    ----------
    device
        Where the network runs.
    threads
        Threads of the processor that the job uses.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device, self.threads = device, threads
        self.started = time.perf_counter()
        self.energy_at_start_j = _energy_counters_j(device)

    def write(self, path: Path, **about: Any) -> None:
        """Write hardware, software, time, memory and energy as JSON; unknown values are null.

        `energy_kwh` is what the counters of the whole processor and GPU rose by, so it includes
        whatever ran beside the job.
        """
        on_gpu = self.device.type == "cuda"
        gpu = torch.cuda.get_device_properties(self.device) if on_gpu else None
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        record = {
            "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - self.started, 1),
            "energy_kwh": _risen_kwh(self.energy_at_start_j, _energy_counters_j(self.device)),
            "peak_memory_mib": peak_kib // 1024,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": self.threads,
            "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30),
            "gpu": gpu.name if gpu else None,
            "gpu_memory_gib": round(gpu.total_memory / 2**30) if gpu else None,
            "gpu_peak_memory_mib": (
                torch.cuda.max_memory_allocated(self.device) // 2**20 if on_gpu else None
            ),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            **about,
        }
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
    """Return the name of the processor, as its maker sells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _energy_counters_j(device: torch.device) -> dict[str, float]:
    """Return the energy that processors and GPU have used so far, in J, where they can be read."""
    counters = {}
    for counter in sorted(_ENERGY_COUNTERS.glob("intel-rapl:?/energy_uj")):
        try:
            counters[counter.parent.name] = int(counter.read_text()) * 1e-6
        except OSError:  # only root may read it on many systems
            continue
    if device.type == "cuda":
        with contextlib.suppress(pynvml.NVMLError):  # not every GPU has a counter
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            counters["gpu"] = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3
    return counters


def _risen_kwh(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Return by how much counters have risen, or None where one is unknown or has wrapped."""
    risen = [after[name] - before[name] for name in before if name in after]
    if not risen or min(risen) < 0:
        return None
    return round(sum(risen) / 3.6e6, 6)
