"""Confidence intervals and comparisons of many models, on one core.

    python -m benchmarks.statistics [--rounds 3]

40 models x 10 structures x 4 metrics (two means, two medians) x 100 subjects and 9999 resamples,
with 2 % failures; scipy's bootstrap does a hundredth of the columns, and its time is multiplied.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from benchmarks.machine import describe
from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals
from crossfold.evaluation.statistics.paired import compare_paired
from crossfold.evaluation.statistics.ranks import rank_stability

MODELS, STRUCTURES, SUBJECTS = 40, 10, 100
METRICS = {"dice": "mean", "nsd": "mean", "hd95_mm": "median", "assd_mm": "median"}
RESAMPLES, CONFIDENCE = 9999, 0.95
SHARE_OF_SCIPY = 100

Values = dict[str, NDArray[np.float64]]
"""By metric: shape (subjects, structures, models)."""


class Measurement(NamedTuple):
    cpu_s: float
    wall_s: float
    peak_rss_mib: float


def synthetic_values() -> Values:
    """Subjects differ more than models do; a failure has the worst value of each metric."""
    random = np.random.default_rng(0)
    shape = (SUBJECTS, STRUCTURES, MODELS)
    difficulty = random.gamma(2, 1, shape[:2])[..., np.newaxis]
    quality = difficulty * random.gamma(20, 1 / 20, shape) * np.linspace(1, 1.2, MODELS)
    failed = random.random(shape) < 0.02
    overlap, distance = np.exp(-quality / 10), 2 * quality
    worst = {"mean": 0.0, "median": np.inf}
    return {
        name: np.where(failed, worst[statistic], overlap if statistic == "mean" else distance)
        for name, statistic in METRICS.items()
    }


def intervals(values: Values) -> None:
    for metric, statistic in METRICS.items():
        columns = values[metric].reshape(SUBJECTS, -1)
        bootstrap_intervals(columns, statistic, confidence=CONFIDENCE, resamples=RESAMPLES, seed=0)


def intervals_of_scipy(values: Values) -> None:
    for metric, statistic in METRICS.items():
        columns = values[metric].reshape(SUBJECTS, -1)
        for column in np.nan_to_num(columns, posinf=1e9).T[::SHARE_OF_SCIPY]:
            stats.bootstrap(
                (column,),
                {"mean": np.mean, "median": np.median}[statistic],
                method={"mean": "BCa", "median": "percentile"}[statistic],
                n_resamples=RESAMPLES,
                rng=0,
            )


def comparisons(values: Values) -> None:
    """Each model with the first: a planned comparison per structure and metric."""
    for metric in METRICS:
        for structure in range(STRUCTURES):
            of_models = values[metric][:, structure].T
            for model in of_models[1:]:
                compare_paired(
                    of_models[0],
                    model,
                    higher_is_better=METRICS[metric] == "mean",
                    confidence=CONFIDENCE,
                    resamples=RESAMPLES,
                    seed=0,
                )


def ranks(values: Values) -> None:
    """Eight models, 200 subjects (those of two structures), 1000 resamples, three schemes."""
    of_models = values["dice"][:, :2, :8].reshape(2 * SUBJECTS, 8)
    rank_stability(of_models, higher_is_better=True, resamples=1000, seed=0, alpha=0.05)


TASKS: dict[str, tuple[Callable[[Values], None], int]] = {
    "intervals of 1600 columns": (intervals, 1),
    "the same by scipy.stats.bootstrap (extrapolated)": (intervals_of_scipy, SHARE_OF_SCIPY),
    "1560 paired comparisons": (comparisons, 1),
    "rank stability of 8 models, 200 subjects": (ranks, 1),
}


def measure(task: str) -> Measurement:
    """Time one task; in a fresh process, so that the peak memory is its own."""
    function, factor = TASKS[task]
    values = synthetic_values()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    function(values)
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak_rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measurement(factor * cpu_s, factor * wall_s, peak_rss_mib)


def compare(rounds: int) -> pd.DataFrame:
    """Return the median over rounds, which take turns."""
    measurements: dict[str, list[Measurement]] = {task: [] for task in TASKS}
    for _ in range(rounds):
        for task, repeats in measurements.items():
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(max_workers=1, mp_context=context) as process:
                repeats.append(process.submit(measure, task).result())
    rows = [[task, *np.median(repeats, axis=0)] for task, repeats in measurements.items()]
    return pd.DataFrame(rows, columns=["task", "CPU s", "wall s", "peak RSS MiB"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="measurements per task")
    print(describe(), end="\n\n")
    table = compare(parser.parse_args().rounds)
    cells = table.map(lambda cell: cell if isinstance(cell, str) else f"{cell:.3g}")
    for line in [cells.columns, ["---"] * len(cells.columns), *cells.to_numpy()]:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
