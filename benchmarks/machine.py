"""What a number was measured on: machine, software and commit."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """Return processor, cores, versions and commit in one line."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "snakemake"))
    return (
        f"{_processor()}, {cores} cores; Python {platform.python_version()}, {versions}; {commit}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    fields = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    wide = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in fields.get("flags", "")]
    family = f"family {fields.get('cpu family')} model {fields.get('model')}"
    return f"{fields.get('model name', platform.machine())} ({family}, {' '.join(wide)})"


def copy_workflow(folder: Path) -> None:
    """Copy what a run needs into an empty folder, so that it starts from raw files."""
    checkout = Path(__file__).parents[1]
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(checkout / name, folder)
    for name in ("rules", "scripts", "crossfold", "envs", "report"):
        shutil.copytree(checkout / name, folder / name)
