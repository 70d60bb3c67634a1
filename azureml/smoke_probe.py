"""What `azureml/smoke.py` runs inside a job: tries the mount, then talks for a while."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """`smoke_probe.py <mounted folder> <seconds>`; writes out/facts.json and out/large.bin."""
    mounted, watched_s = Path(sys.argv[1]), float(sys.argv[2])
    print("probe: started", flush=True)
    facts = {
        "python": platform.python_version(),
        "snakemake": _version("snakemake"),
        "torch": _version("torch"),
        "mount": {trial.__name__: _outcome(trial, mounted) for trial in TRIALS},
    }
    end = time.monotonic() + watched_s
    while time.monotonic() < end:
        print(f"probe: {end - time.monotonic():.0f} s left", flush=True)
        time.sleep(min(1.0, watched_s))
    out = Path("out")
    (out / "empty").mkdir(parents=True)
    (out / "large.bin").write_bytes(Path("in/large.bin").read_bytes())
    (out / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def write_and_read(mounted: Path) -> None:
    """A file is what was written."""
    file = mounted / "written.txt"
    file.write_text("first", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == "first"


def append(mounted: Path) -> None:
    """A file grows, as the event files of TensorBoard do."""
    with (mounted / "written.txt").open("a", encoding="utf-8") as stream:
        stream.write(", second")
    assert (mounted / "written.txt").read_text(encoding="utf-8") == "first, second"


def rename(mounted: Path) -> None:
    """A file takes another's place, as the state of a training does after every epoch."""
    file, part = mounted / "state.txt", mounted / "state.txt.part"
    file.write_text("old", encoding="utf-8")
    part.write_text(f"{time.time():.1f}", encoding="utf-8")
    os.replace(part, file)
    assert file.read_text(encoding="utf-8") != "old"
    assert not part.exists()


def delete(mounted: Path) -> None:
    """A file is gone."""
    file = mounted / "deleted.txt"
    file.write_text("gone soon", encoding="utf-8")
    file.unlink()
    assert not file.exists()


TRIALS = (write_and_read, append, rename, delete)


def _outcome(trial: Callable[[Path], None], mounted: Path) -> str:
    """What went wrong; empty if nothing did."""
    try:
        trial(mounted)
    except (AssertionError, OSError) as error:
        return repr(error)
    return ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
