"""Crossfold's metrics beside those of MONAI and of DeepMind's surface-distance.

    python -m benchmarks.metrics [--rounds 3] [--labels FOLDER [--predictions FOLDER]]

Each measurement runs in a process of its own, on one thread, after a warm-up; rounds take turns.
`pip install surface-distance==0.1` adds that package to the table, which does without it otherwise.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from crossfold.evaluation.metrics import measure_label_maps
from crossfold.images import read_labels

NSD_TOLERANCE_MM = 1.0
METRICS = ["dice", "hd95_mm", "assd_mm", "nsd"]


class Pair(NamedTuple):
    """A reference, its prediction (both uint8, (x, y, z)) and their voxel size."""

    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    labels: list[int]


class Measurement(NamedTuple):
    cpu_s: float
    wall_s: float
    peak_rss_mib: float
    values: NDArray[np.float64]
    """Per pair and structure: `METRICS`."""


def crossfold_metrics(pair: Pair) -> NDArray[np.float64]:
    rows = measure_label_maps(
        pair.reference,
        pair.prediction,
        labels={str(label): [label] for label in pair.labels},
        spacing_mm=pair.spacing_mm,
        nsd_tolerance_mm={str(label): NSD_TOLERANCE_MM for label in pair.labels},
    )
    return np.array([[row[metric] for metric in METRICS] for row in rows])


def monai_metrics(pair: Pair) -> NDArray[np.float64]:
    import torch
    from monai import metrics

    torch.set_num_threads(1)
    prediction, reference = (
        torch.from_numpy(np.stack([labels == label for label in [0, *pair.labels]])[None])
        for labels in (pair.prediction, pair.reference)
    )
    options = {"include_background": False, "spacing": pair.spacing_mm}
    columns = [
        metrics.compute_dice(prediction, reference, include_background=False),
        metrics.compute_hausdorff_distance(prediction, reference, percentile=95, **options),
        metrics.compute_average_surface_distance(prediction, reference, symmetric=True, **options),
        metrics.compute_surface_dice(
            prediction, reference, [NSD_TOLERANCE_MM] * len(pair.labels), **options
        ),
    ]
    return np.stack([column[0].numpy() for column in columns], axis=1)


def surface_distance_metrics(pair: Pair) -> NDArray[np.float64]:
    import surface_distance

    rows = []
    for label in pair.labels:
        reference, prediction = pair.reference == label, pair.prediction == label
        distances = surface_distance.compute_surface_distances(
            reference, prediction, pair.spacing_mm
        )
        rows.append(
            [
                surface_distance.compute_dice_coefficient(reference, prediction),
                surface_distance.compute_robust_hausdorff(distances, 95),
                np.mean(surface_distance.compute_average_surface_distance(distances)),
                surface_distance.compute_surface_dice_at_tolerance(distances, NSD_TOLERANCE_MM),
            ]
        )
    return np.array(rows)


IMPLEMENTATIONS: dict[str, Callable[[Pair], NDArray[np.float64]]] = {
    "Crossfold": crossfold_metrics,
    "MONAI": monai_metrics,
    "surface-distance": surface_distance_metrics,
}


def large_pairs() -> Iterator[Pair]:
    """One abdominal volume with five ellipsoids, predicted smaller and off by two voxels."""
    shape = (512, 512, 150)
    centres = [(150, 200, 70), (360, 200, 70), (250, 380, 60), (250, 120, 100), (420, 400, 110)]
    radii = [(80, 60, 40), (60, 60, 45), (50, 40, 30), (30, 30, 20), (20, 25, 15)]
    reference, prediction = np.zeros((2, *shape), dtype=np.uint8)
    for label, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        draw_ellipsoid(reference, label, np.array(centre), np.array(radius))
        draw_ellipsoid(prediction, label, np.add(centre, (0, 2, 2)), np.subtract(radius, 1))
    yield Pair(reference, prediction, (0.8, 0.8, 2.5), [1, 2, 3, 4, 5])


def draw_ellipsoid(labels: NDArray[np.uint8], label: int, centre: NDArray, radius: NDArray) -> None:
    box = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, radius, strict=True))
    axes = np.ogrid[tuple(slice(-1, 1, (2 * r + 1) * 1j) for r in radius)]
    labels[box][sum(axis**2 for axis in axes) < 1] = label


def small_pairs(count: int = 20) -> Iterator[Pair]:
    """Volumes of the size of a hippocampus, with its anterior and its posterior part."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        x, y, z = np.ogrid[-1:1:35j, -1:1:50j, -1:1:36j]
        noise = ndimage.gaussian_filter(generator.normal(size=(35, 50, 36)), 2)
        inside = (x / 0.45) ** 2 + (y / 0.75) ** 2 + (z / 0.4) ** 2 + 4 * noise < 1
        reference = np.where(inside, np.where(y + x > 0.1, 1, 2), 0).astype(np.uint8)
        yield Pair(reference, perturbed(reference, generator), (1.0, 1.0, 1.0), [1, 2])


def perturbed(reference: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """A prediction that errs along the borders of each label."""
    prediction = np.zeros_like(reference)
    for label in np.unique(reference[reference > 0]):
        likeness = ndimage.gaussian_filter((reference == label).astype(np.float32), 1)
        error = ndimage.gaussian_filter(generator.normal(size=reference.shape), 1)
        prediction[likeness + 0.12 * error > 0.5] = label
    return prediction


def pairs_on_disk(references: Path, predictions: Path | None) -> Iterator[Pair]:
    generator = np.random.default_rng(0)
    for path in sorted(references.glob("*.nii.gz")):
        image = read_labels(path)
        reference = image.array.astype(np.uint8)
        if predictions is None:
            prediction = perturbed(reference, generator)
        else:
            prediction = read_labels(predictions / path.name).array.astype(np.uint8)
        yield Pair(reference, prediction, image.spacing_mm, [*range(1, reference.max() + 1)])


def measure(implementation: str, data: Callable[..., Iterator[Pair]], *arguments) -> Measurement:
    """Time one implementation; in a fresh process, so that the peak memory is its own."""
    function = IMPLEMENTATIONS[implementation]
    function(next(small_pairs()))
    pairs = list(data(*arguments))
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    values = np.concatenate([function(pair) for pair in pairs])
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    peak_rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measurement(cpu_s / len(pairs), wall_s / len(pairs), peak_rss_mib, values)


def compare(implementations: list[str], rounds: int, *data) -> pd.DataFrame:
    measurements: dict[str, list[Measurement]] = {name: [] for name in implementations}
    for _ in range(rounds):
        for name in implementations:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(max_workers=1, mp_context=context) as process:
                measurements[name].append(process.submit(measure, name, *data).result())
    truth = measurements["MONAI"][0].values
    rows = []
    for name, repeats in measurements.items():
        times = np.median([repeat[:3] for repeat in repeats], axis=0)
        difference = np.nanmax(np.abs(repeats[0].values - truth), axis=0)
        rows.append([name, *times, *difference])
    differences = [f"max diff {metric}" for metric in METRICS]
    columns = ["implementation", "CPU s/pair", "wall s/pair", "peak RSS MiB", *differences]
    return pd.DataFrame(rows, columns=columns)


def as_markdown(table: pd.DataFrame) -> str:
    cells = table.map(lambda cell: cell if isinstance(cell, str) else f"{cell:.3g}")
    lines = [cells.columns, ["---"] * len(cells.columns), *cells.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="measurements per implementation")
    parser.add_argument("--labels", type=Path, help="folder of label maps for the small pairs")
    parser.add_argument("--predictions", type=Path, help="folder of predictions of the same names")
    arguments = parser.parse_args()
    implementations = list(IMPLEMENTATIONS)
    if importlib.util.find_spec("surface_distance") is None:
        print("surface-distance is not installed, and left out: pip install surface-distance==0.1")
        implementations.remove("surface-distance")
    if arguments.labels:
        small = {arguments.labels.name: (pairs_on_disk, arguments.labels, arguments.predictions)}
    else:
        small = {"35 x 50 x 36 voxels, 2 structures": (small_pairs,)}
    datasets = {**small, "512 x 512 x 150 voxels, 5 structures": (large_pairs,)}
    for title, data in datasets.items():
        print(f"\n{title}\n\n{as_markdown(compare(implementations, arguments.rounds, *data))}")


if __name__ == "__main__":
    main()
