"""All figures, tables and thumbnails of a study of 200 subjects, as Snakemake draws them.

    python -m benchmarks.figures [--cores 2]

5 folds, 5 structures, 200 subjects and 2 runs that are compared, with images of 64 x 64 x 32
voxels. Every figure has a process of its own, as it has with Snakemake, two at a time.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import describe
from crossfold.paper.catalogue import FIGURES

TABLES, THUMBNAILS = "tables", "thumbnails"


class Study(NamedTuple):
    """What there is to draw: files by name, and what is known of them."""

    files: dict[str, Any]
    context: dict[str, Any]
    labels: dict[str, tuple[int, ...]]
    statistics: dict[str, Any]
    target: Path


class Measurement(NamedTuple):
    cpu_s: float
    wall_s: float
    peak_rss_mib: float


def draw(name: str, study: Study, cores: int) -> Measurement:
    """Draw one figure, all tables or all thumbnails, in a process that has done nothing else.

    Its CPU time is that of the process, with the start of Python and all imports.
    """
    wall_s = time.perf_counter()
    if name == TABLES:
        _write_tables(study)
    elif name == THUMBNAILS:
        _draw_thumbnails(study, cores)
    else:
        _draw_figure(name, study)
    wall_s = time.perf_counter() - wall_s
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    cpu_s = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Measurement(cpu_s, wall_s, own.ru_maxrss / 1024)


# Whatever draws is imported where it is used, so that no figure pays for the others.
def _draw_figure(name: str, study: Study) -> None:
    from crossfold.config.figures import FiguresConfig
    from crossfold.paper.figures import Context, draw_figure

    entry = FIGURES[name]
    options = dict(entry.options)
    if entry.has_intervals:
        options |= {"statistics": study.statistics}
    elif "images" in entry.inputs:
        options |= {"image": "ct", "labels": study.labels}
    inputs = {name: study.files[name] for name in entry.inputs if name != "images"}
    context = Context(**study.context, config=FiguresConfig(), options=options)
    draw_figure(name, inputs, context, study.target / name)


def _write_tables(study: Study) -> None:
    from crossfold.config.statistics import StatisticsConfig
    from crossfold.paper.tables import write_tables

    run, statistics = study.context["run"], StatisticsConfig(**study.statistics)
    write_tables(study.files, study.target, run=run, statistics=statistics)


def _draw_thumbnails(study: Study, cores: int) -> None:
    from crossfold.data.dataset import Dataset
    from crossfold.paper.thumbnails import draw_thumbnails

    dataset = Dataset.read(study.files["dataset"])
    draw_thumbnails(
        dataset,
        study.files["segmentations"],
        dataset.subjects,
        image="ct",
        structures=study.context["structures"],
        target_directory=study.target / THUMBNAILS,
        workers=cores,
    )


def prepare(folder: Path, cores: int) -> Study:
    """Write the study; in a process of its own, which leaves this one small."""
    from benchmarks.made_up_study import LABELS, OTHER, RUN, STATISTICS, STRUCTURES, make_study

    (folder / "drawn").mkdir()
    context = {
        "run": RUN,
        "structures": STRUCTURES,
        "split": STATISTICS.primary_split,
        "runs": (RUN, OTHER),
        "colours": {RUN: "#0072B2", OTHER: "#D55E00"},
        "synthetic": True,
    }
    statistics = STATISTICS.model_dump(include={"confidence", "resamples", "seed"})
    return Study(make_study(folder, cores), context, LABELS, statistics, folder / "drawn")


def fresh_processes(count: int) -> ProcessPoolExecutor:
    """Return a pool in which every task starts a Python of its own."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, max_tasks_per_child=1)


def measure(study: Study, cores: int) -> tuple[dict[str, Measurement], float]:
    """Draw everything; the thumbnails, which take all cores, in the end."""
    started = time.perf_counter()
    with fresh_processes(cores) as processes:
        drawn = {name: processes.submit(draw, name, study, 1) for name in [*FIGURES, TABLES]}
        measurements = {name: task.result() for name, task in drawn.items()}
    with fresh_processes(1) as process:
        measurements[THUMBNAILS] = process.submit(draw, THUMBNAILS, study, cores).result()
    return measurements, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=2, help="figures that are drawn at a time")
    cores = parser.parse_args().cores
    print(describe(), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        with fresh_processes(1) as process:
            study = process.submit(prepare, Path(folder), cores).result()
        measurements, wall_s = measure(study, cores)
    cpu_s = sum(one.cpu_s for one in measurements.values())
    print(f"Everything: {wall_s:.0f} s wall, {cpu_s:.0f} s CPU, on {cores} cores\n")
    header = ["drawn", "CPU s", "wall s", "peak RSS MiB"]
    rows = [
        [name, f"{one.cpu_s:.1f}", f"{one.wall_s:.1f}", f"{one.peak_rss_mib:.0f}"]
        for name, one in measurements.items()
    ]
    for line in [header, ["---"] * len(header), *rows]:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
