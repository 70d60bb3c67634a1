"""A made-up study with all files that figures and tables are drawn from.

Only the images, the predictions and the histories of training are invented; everything else comes
from the functions that the rules call.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from crossfold.config.checks import ChecksConfig
from crossfold.config.labels import label_values
from crossfold.config.metrics import MetricsConfig
from crossfold.config.models import ModelConfig
from crossfold.config.outliers import OutliersConfig
from crossfold.config.splits import SplitsConfig
from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits, make_splits
from crossfold.data.validation import validate_dataset
from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.measure import Measurement, measure_segmentations
from crossfold.evaluation.outliers.find import find_outliers
from crossfold.evaluation.posteriors import PosteriorMeasurement, Source, measure_posteriors
from crossfold.evaluation.statistics.compare import compare_model
from crossfold.evaluation.statistics.plan import make_plan, write_plan
from crossfold.evaluation.summary import summarise_metrics
from crossfold.evaluation.tables import read_metrics, write_metrics, write_table
from crossfold.images import POSTERIOR_SCALE, write_image, write_posterior
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file

RUN, OTHER = "Model", "Baseline"
STRUCTURES = ("prostate", "bladder", "rectum", "femur_r", "femur_l")
LABELS = label_values(STRUCTURES, {})
SUBJECTS, FOLDS, EPOCHS, INSTITUTIONS = 200, 5, 60, 3
SHAPE, SPACING_MM = (64, 64, 32), (4.0, 4.0, 5.0)
CENTRES_MM = np.array(
    [(128, 150, 60), (128, 100, 90), (128, 200, 80), (50, 128, 80), (206, 128, 80)]
)
RADII_MM = np.array([20, 25, 18, 30, 30])
MISSED = 0.02
"""Share of structures that a model does not find."""
ERRORS_MM = {RUN: 2.0, OTHER: 2.5}
"""Spread of the errors in the place of a structure, by run."""
STATISTICS = StatisticsConfig()
MODEL = ModelConfig(
    dataset="made_up",
    images=("ct",),
    structures=STRUCTURES,
    splits=SplitsConfig(folds=FOLDS, test=0.2),
)
MACHINE = {
    **dict.fromkeys(("processor", "torch"), "made up"),
    **dict.fromkeys(("cores", "threads", "memory_gib"), 1),
    **dict.fromkeys(("gpu", "gpu_memory_gib", "energy_kwh")),
    "seconds": 600.0,
    "continued_after_epoch": 0,
}


class Part(NamedTuple):
    """Subjects that a fold or the ensemble has predicted."""

    split: str
    fold: str
    subjects: tuple[str, ...]
    folder: Path


def make_study(folder: Path, workers: int) -> dict[str, Any]:
    """Write a study and return its files, by the names that rules and figures know them by."""
    files: dict[str, Any] = {"dataset": folder / "dataset.csv"}
    _write_images(files["dataset"], workers)
    dataset = Dataset.read(files["dataset"])
    files["dataset_report"] = folder / "dataset_report.csv"
    options = {"images": ["ct"], "structures": list(STRUCTURES), "checks": ChecksConfig()}
    report = validate_dataset(files["dataset"], **options, workers=workers)
    report.write_csv(files["dataset_report"])
    splits = make_splits(dataset.metadata, MODEL.splits)
    files["splits"] = folder / "splits.csv"
    splits.write(files["splits"])
    of_run = {
        name: _measure(folder / name, name, dataset, splits, workers) for name in (RUN, OTHER)
    }
    files |= of_run[RUN]
    files |= _compare(folder, files["splits"], {name: of_run[name]["metrics"] for name in of_run})
    found = find_outliers(
        read_metrics(files["metrics"]),
        read_frame(files["inspection"]),
        read_frame(files["compared"]),
        OutliersConfig(),
    )
    tables = {name: found[name] for name in ("outliers", "by_reason")}
    return files | _write(folder, tables) | _write_training(folder)


def _write_images(dataset: Path, workers: int) -> None:
    """Write balls in noise, each subject's at places of its own."""
    (dataset.parent / "images").mkdir(parents=True)
    subjects = [f"case_{number:03d}" for number in range(SUBJECTS)]
    images = map_subjects(
        partial(_write_image, dataset.parent), subjects, workers=workers, title="images"
    )
    rows = [row for rows in images for row in rows]
    columns = ["subject", "channel", "filePath", "label", "institutionId"]
    write_table(dataset, pd.DataFrame(rows, columns=columns))


def _write_image(folder: Path, subject: str) -> list[tuple[str, ...]]:
    random, depths_mm = _depths_mm(subject)
    labels = _labels(depths_mm)
    image = random.normal(0, 20, SHAPE) + 40 * (labels > 0)
    names = f"images/{subject}.nii.gz", f"images/{subject}_labels.nii.gz"
    for name, array in zip(names, (image.astype(np.int16), labels), strict=True):
        nib.save(nib.Nifti1Image(array, np.diag([*SPACING_MM, 1.0])), folder / name)
    institution = f"site {int(subject[-3:]) % INSTITUTIONS}"
    about = [("ct", names[0], ""), *((name, names[1], str(LABELS[name][0])) for name in STRUCTURES)]
    return [(subject, *rest, institution) for rest in about]


def _depths_mm(
    subject: str, seed: int = 0, error_mm: float = 0.0
) -> tuple[np.random.Generator, NDArray[np.float32]]:
    """Depth below the surface of every structure, (x, y, z, structure); errors only with a seed."""
    random = np.random.default_rng(int(subject[-3:]))
    centres = CENTRES_MM + random.normal(0, 4, CENTRES_MM.shape)
    radii = RADII_MM * random.uniform(0.9, 1.1, RADII_MM.shape)
    difficulty = random.gamma(4, 1 / 4)
    if seed:
        random = np.random.default_rng([seed, int(subject[-3:])])
        centres += difficulty * random.normal(0, error_mm, centres.shape)
        radii += difficulty * random.normal(0, error_mm / 2, radii.shape)
    places = np.stack(np.indices(SHAPE), axis=-1) * SPACING_MM
    distances = np.linalg.norm(places[..., np.newaxis, :] - centres, axis=-1)
    return random, (radii - distances).astype(np.float32)


def _labels(depths_mm: NDArray[np.float32]) -> NDArray[np.uint8]:
    inside = depths_mm.max(axis=-1) > 0
    return np.where(inside, depths_mm.argmax(axis=-1) + 1, 0).astype(np.uint8)


def _measure(
    folder: Path, run: str, dataset: Dataset, splits: Splits, workers: int
) -> dict[str, Any]:
    """Invent the predictions of a run, and measure them."""
    parts = [
        Part(split, str(fold), subjects, folder / "folds" / str(fold))
        for fold in splits.folds
        for split, subjects in (("val", splits.subjects("val", fold)), ("test", splits.test))
    ]
    parts.append(Part("test", "ensemble", splits.test, folder / "ensemble"))
    frames = []
    for part in parts:
        for kind in ("segmentations", "posteriors"):
            (part.folder / kind / part.split).mkdir(parents=True)
        predict = partial(_predict, dataset, part, ERRORS_MM[run])
        map_subjects(predict, part.subjects, workers=workers, title="predict")
        about = {"model": run, "dataset": "made_up", "synthetic": True, "seed": 0}
        measurement = Measurement(
            STRUCTURES,
            LABELS,
            MetricsConfig(),
            {**about, "split": part.split, "fold": part.fold},
        )
        segmentations = part.folder / "segmentations" / part.split
        frames.append(
            measure_segmentations(
                dataset, segmentations, part.subjects, measurement, workers=workers
            )
        )
    files: dict[str, Any] = {"metrics": folder / "metrics.csv"}
    write_metrics(files["metrics"], pd.concat(frames))
    if run == RUN:
        files |= _measure_posteriors(folder, dataset, parts, workers)
        summary = summarise_metrics(read_metrics(files["metrics"]), STATISTICS)
        files |= _write(folder, {"summary": summary})
    return files


def _predict(dataset: Dataset, part: Part, error_mm: float, subject: str) -> None:
    """Write a prediction whose errors differ by fold, and are smaller in the ensemble."""
    number = FOLDS if part.fold == "ensemble" else int(part.fold)
    error_mm *= 0.8 if part.fold == "ensemble" else 1.0
    random, depths_mm = _depths_mm(subject, number + 1, error_mm)
    # As wide as errors are: the confidence of a model that knows what it does not know.
    depths_mm[..., random.random(len(STRUCTURES)) < MISSED] = -np.inf
    posterior = expit(depths_mm / error_mm) * (depths_mm == depths_mm.max(axis=-1, keepdims=True))
    like = dataset.image(subject, "ct")
    for kind, array, write in (
        ("segmentations", _labels(depths_mm), write_image),
        ("posteriors", np.rint(POSTERIOR_SCALE * posterior).astype(np.uint8), write_posterior),
    ):
        write(subject_file(part.folder / kind / part.split, subject), array, like)


def _measure_posteriors(
    folder: Path, dataset: Dataset, parts: list[Part], workers: int
) -> dict[str, Any]:
    judged = [part for part in parts if part.split == "val" or part.fold == "ensemble"]
    places = [
        {kind: part.folder / kind / part.split for kind in ("posteriors", "segmentations")}
        for part in judged
    ]
    sources = [
        Source(part.split, part.fold, part.subjects, **place)
        for part, place in zip(judged, places, strict=True)
    ]
    measurement = PosteriorMeasurement(RUN, STRUCTURES, LABELS, MetricsConfig(), {})
    tables = measure_posteriors(dataset, sources, measurement, workers=workers)
    return _write(folder, tables) | {"segmentations": [place["segmentations"] for place in places]}


def _compare(folder: Path, splits: Path, metrics: dict[str, Path]) -> dict[str, Any]:
    plan = make_plan(RUN, [OTHER], STRUCTURES, STATISTICS, results_existed=False)
    write_plan(folder / "plan.json", plan)
    tables = compare_model(
        RUN,
        metrics[RUN],
        splits,
        [(ComparedRun(model=OTHER), metrics[OTHER], splits)],
        structures=STRUCTURES,
        plan=folder / "plan.json",
        config=STATISTICS,
    )
    return {"plan": folder / "plan.json"} | _write(folder, tables)


def _write_training(folder: Path) -> dict[str, Any]:
    """Write the configuration, and the history and the machine of every fold."""
    files: dict[str, Any] = {"config": folder / "config.json", "training": [], "machines": []}
    files["config"].write_text(MODEL.model_dump_json(by_alias=True), encoding="utf-8")
    epochs = np.arange(1, EPOCHS + 1)
    for fold in range(FOLDS):
        loss = 1.2 / np.sqrt(epochs) + np.random.default_rng(fold).normal(0, 0.02, EPOCHS)
        values = {"loss": loss} | {f"dice_{name}": 1 - loss / 2 for name in STRUCTURES}
        history = pd.concat(
            pd.DataFrame({"epoch": epochs, "phase": phase, "metric": name, "value": value * factor})
            for phase, factor in (("train", 1.0), ("val", 1.1))
            for name, value in values.items()
        ).sort_values(["epoch", "phase"], kind="stable")
        history["lr"] = 0.01 * (1 - history["epoch"] / (EPOCHS + 1))
        history["seconds"] = 10.0
        place = folder / "folds" / str(fold)
        place.mkdir(parents=True)
        write_table(place / "training.csv", history)
        (place / "machine.json").write_text(json.dumps(MACHINE), encoding="utf-8")
        files["training"].append(place / "training.csv")
        files["machines"].append(place / "machine.json")
    return files


def _write(folder: Path, tables: dict[str, pd.DataFrame]) -> dict[str, Path]:
    files = {name: folder / f"{name}.csv" for name in tables}
    for name, file in files.items():
        write_table(file, tables[name])
    return files
