"""How long Snakemake takes to plan a model with 1 000 subjects: `python -m benchmarks.dry_run`."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import copy_workflow, describe

ROUNDS, SUBJECTS = 5, 1000
CONFIG = """
datasets: {large: {source: folder, path: raw, images: {ct: "{subject}_ct.nii.gz"}}}
models: {Large: {dataset: large, images: [ct], structures: [organ]}}
"""


def make_dataset(folder: Path) -> None:
    """Write an imported dataset whose images are empty files."""
    images = folder / "data" / "large" / "images"
    images.mkdir(parents=True)
    (folder / "raw").mkdir()
    rows = ["subject,channel,filePath"]
    for number in range(SUBJECTS):
        for channel in ("ct", "organ"):
            (images / f"{number}_{channel}.nii.gz").touch()
            rows.append(f"{number},{channel},images/{number}_{channel}.nii.gz")
    (images.parent / "dataset.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "large.yaml").write_text(CONFIG, encoding="utf-8")


def main() -> None:
    """Print the median of repeated dry runs."""
    command = [
        *(sys.executable, "-m", "snakemake", "-n", "results/Large/ensemble_metrics.csv"),
        *("--configfile", "config.yaml", "large.yaml"),
    ]
    with tempfile.TemporaryDirectory() as name:
        copy_workflow(Path(name))
        make_dataset(Path(name))
        wall, cpu = [], []
        for _ in range(ROUNDS):
            started, before = time.perf_counter(), os.times()
            subprocess.run(command, cwd=name, check=True, capture_output=True)
            after = os.times()
            wall.append(time.perf_counter() - started)
            cpu.append(
                after.children_user
                + after.children_system
                - before.children_user
                - before.children_system
            )
    print(describe())
    print(
        f"\ndry run with {SUBJECTS} subjects, median of {ROUNDS}: "
        f"{statistics.median(wall):.2f} s wall, {statistics.median(cpu):.2f} s CPU"
    )


if __name__ == "__main__":
    main()
