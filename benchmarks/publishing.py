"""How long checks of published files take: `python -m benchmarks.publishing`.

10 000 files of 1 MB in a DVC directory: `dvc status` and the check against the manifest, once when
nobody has read them yet, and when nothing has changed. Then a dry run of a model with 1 000
subjects whose images were pulled. It needs 20 GB in the folder for temporary files.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.dry_run import make_dataset
from benchmarks.machine import copy_workflow, describe
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import (
    Entry,
    Manifest,
    digests_of_model,
    verify,
    write_manifest,
)

FILES, BYTES, ROUNDS = 10_000, 1_000_000, 5
PLACE = "results/Large/folds/0/segmentations"


def run(folder: Path, *command: str) -> None:
    """Run a command and refuse its failure."""
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def dvc(folder: Path, *arguments: str) -> None:
    """Run DVC."""
    run(folder, sys.executable, "-m", "dvc", *arguments)


def seconds(action: Callable[[], object]) -> float:
    """Time an action."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def make_files(folder: Path) -> None:
    """Write files that are all different and cannot be compressed."""
    (folder / PLACE).mkdir(parents=True)
    content = os.urandom(BYTES)
    for number in range(FILES):
        (folder / PLACE / f"{number:05}.bin").write_bytes(content[8:] + number.to_bytes(8, "big"))


def forget(folder: Path) -> None:
    """Let DVC forget every digest."""
    for name in ("site", ".dvc/tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)


def check_manifest(folder: Path) -> None:
    """Check all files as `crossfold verify` does, in a process of its own."""
    command = "from crossfold.__main__ import main; raise SystemExit(main(['verify', 'Large']))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run(
        [sys.executable, "-c", command],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )


def write_large_manifest(folder: Path) -> None:
    """Write the manifest of the files as they are."""
    with Digests(folder) as digests:
        found = digests_of_model("Large", "", digests)
    files = {
        path: Entry(md5=digest, size=(folder / path).stat().st_size, kept="dvc")
        for path, digest in found.items()
    }
    empty: dict[str, str] = {}
    manifest = Manifest(
        model="Large",
        commit="0" * 40,
        uncommitted=(),
        configuration={},
        seeds={},
        data={"name": ""},
        lock=empty,
        software=empty,
        machines={},
        directories=empty,
        files=files,
    )
    write_manifest(manifest, folder)
    with Digests(folder) as digests:
        assert verify(manifest, digests, folder).as_published


def measure_checks(folder: Path) -> dict[str, float]:
    """Time `dvc status` and the check, each first without and then with remembered digests."""
    run(folder, "git", "init", "--quiet")
    (folder / ".gitignore").write_text(f"/{PLACE}/\n/site/\n", encoding="utf-8")
    make_files(folder)
    dvc(folder, "init")
    dvc(folder, "config", "core.site_cache_dir", str(folder / "site"))
    dvc(folder, "config", "cache.type", "hardlink,copy")
    dvc(folder, "add", PLACE)
    write_large_manifest(folder)
    checks = {
        "dvc status": lambda: dvc(folder, "status"),
        "crossfold verify": lambda: check_manifest(folder),
    }
    times = {}
    for name, check in checks.items():
        forget(folder)
        times[f"{name}, first"] = seconds(check)
        unchanged = [seconds(check) for _ in range(ROUNDS)]
        times[f"{name}, unchanged"] = statistics.median(unchanged)
    return times


def measure_dry_run(folder: Path) -> float:
    """Time a dry run after 2 000 images of 1 000 subjects were pulled and restored."""
    copy_workflow(folder)
    make_dataset(folder)
    for image in (folder / "data/large/images").iterdir():
        image.write_text(image.name, encoding="utf-8")
    run(folder, "git", "init", "--quiet")
    dvc(folder, "init")
    dvc(folder, "add", "data/large/images")
    shutil.rmtree(folder / "data/large/images")
    dvc(folder, "checkout")
    command = (
        *(sys.executable, "-m", "snakemake", "-n", "results/Large/ensemble_metrics.csv"),
        *("--configfile", "config.yaml", "large.yaml"),
    )
    return statistics.median([seconds(lambda: run(folder, *command)) for _ in range(ROUNDS)])


def main() -> None:
    """Print a table."""
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        times = measure_checks(Path(name))
    with tempfile.TemporaryDirectory() as name:
        times["dry run of 1 000 subjects after a pull"] = measure_dry_run(Path(name))
    print(f"\n| {FILES} files of {BYTES // 1_000_000} MB | s |\n|---|---|")
    for what, value in times.items():
        print(f"| {what} | {value:.2f} |")


if __name__ == "__main__":
    main()
