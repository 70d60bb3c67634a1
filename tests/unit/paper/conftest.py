from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossfold.config.models import ModelConfig
from crossfold.config.splits import SplitsConfig
from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.data.splits import Splits, make_splits
from crossfold.evaluation.statistics.compare import compare_model
from crossfold.evaluation.statistics.plan import make_plan, write_plan
from crossfold.evaluation.summary import summarise_metrics
from crossfold.evaluation.tables import METRICS_COLUMNS, write_metrics, write_table

STATISTICS = StatisticsConfig(resamples=999, primary_split="val")
IMAGES = f"{'a' * 32}.dir"
MACHINE = {
    "seconds": 61.5,
    "energy_kwh": 0.002,
    "processor": "Maker 9000",
    "cores": 8,
    "threads": 1,
    "memory_gib": 32,
    "gpu": None,
    "gpu_memory_gib": None,
    "torch": "2.13.0+cpu",
    "continued_after_epoch": 0,
}


@dataclass
class RunFiles:
    """Files of a made-up run, by the names that the paper's modules know them by."""

    run: str
    folder: Path
    structures: list[str]
    paths: dict[str, Any] = field(default_factory=dict)
    statistics: StatisticsConfig = STATISTICS


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFiles]:
    """Write the files of a run, as `_make` does, into a folder of the test."""
    return partial(_make, tmp_path)


@pytest.fixture(scope="session")
def compared_run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """Files of a run with a missed structure, compared with one other; only to be read."""
    folder = tmp_path_factory.mktemp("compared")
    return _make(folder, others=["Baseline"], missed=[("s001", "bladder")])


def _make(
    folder: Path,
    run: str = "Model_1",
    structures: Sequence[str] = ("bladder", "femur_r", "femur-r"),
    *,
    subjects: int = 40,
    test: float = 0.3,
    folds: int = 2,
    others: Sequence[str] = (),
    institutions: Sequence[str] = ("",),
    missed: Sequence[tuple[str, str]] = (),
    synthetic: bool = False,
    statistics: StatisticsConfig = STATISTICS,
) -> RunFiles:
    files = RunFiles(run, folder / run, [*structures], statistics=statistics)
    files.folder.mkdir(parents=True, exist_ok=True)
    names = [f"s{number:03d}" for number in range(subjects)]
    places = [institutions[number % len(institutions)] for number in range(subjects)]
    about = pd.DataFrame({"subject": names, "group": "", "institution": places})
    splits = make_splits(about, SplitsConfig(folds=folds, test=test))
    _write_run(files, splits, about, missed, synthetic, quality=1.0)
    if others:
        _compare(files, splits, about, [*others])
    return files


def _write_run(
    files: RunFiles,
    splits: Splits,
    about: pd.DataFrame,
    missed: Sequence[tuple[str, str]],
    synthetic: bool,
    quality: float,
) -> None:
    folder, structures = files.folder, files.structures
    config = ModelConfig(
        dataset="cohort",
        images=("ct",),
        structures=tuple(structures),
        description="Organs of the pelvis",
        splits=SplitsConfig(folds=len(splits.folds)),
    )
    dumped = config.model_dump(mode="json", by_alias=True)
    dumped["training"]["epochs"] = 7
    files.paths = {
        name: folder / file
        for name, file in {
            "config": "config.json",
            "splits": "splits.csv",
            "metrics": "metrics.csv",
            "summary": "metrics_summary.csv",
            "dataset": "dataset.csv",
            "content": "dataset.json",
            "dataset_report": "dataset_report.csv",
        }.items()
    }
    files.paths["config"].write_text(json.dumps(dumped))
    splits.write(files.paths["splits"])
    content = {"dataset": "cohort", "images": IMAGES, "files": len(about), "dataset_csv": "0" * 32}
    files.paths["content"].write_text(json.dumps(content))
    rows = about.rename(columns={"institution": "institutionId"})
    rows = rows.assign(channel="ct", filePath="a.nii.gz", acquisition_date="2020-01-02")
    rows.to_csv(files.paths["dataset"], index=False)
    used = [(name, "used", "ok", "none", "") for name in about["subject"]]
    out = ("out1", "excluded", "error", "missing_file", "no such file")
    report = pd.DataFrame(
        [*used, out], columns=["subject", "status", "severity", "check", "message"]
    )
    report.to_csv(files.paths["dataset_report"], index=False)
    metrics = _metrics(files, splits, about, missed, synthetic, quality)
    write_metrics(files.paths["metrics"], metrics)
    write_table(files.paths["summary"], summarise_metrics(metrics, files.statistics))
    files.paths["machines"], files.paths["training"] = [], []
    for fold in splits.folds:
        place = folder / f"folds/{fold}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "machine.json").write_text(json.dumps(MACHINE))
        history = [(epoch, "train", "loss", 1.0, 0.01, 30.0) for epoch in (1, 2)]
        columns = ["epoch", "phase", "metric", "value", "lr", "seconds"]
        pd.DataFrame(history, columns=columns).to_csv(place / "training.csv", index=False)
        files.paths["machines"].append(place / "machine.json")
        files.paths["training"].append(place / "training.csv")


def _metrics(
    files: RunFiles,
    splits: Splits,
    about: pd.DataFrame,
    missed: Sequence[tuple[str, str]],
    synthetic: bool,
    quality: float,
) -> pd.DataFrame:
    random = np.random.default_rng(0)
    hardness = dict(zip(about["subject"], random.beta(2, 12, len(about)), strict=True))
    institution = dict(zip(about["subject"], about["institution"], strict=True))
    parts = [("val", str(fold), splits.subjects("val", fold)) for fold in splits.folds]
    parts += [("test", str(fold), splits.test) for fold in splits.folds]
    parts += [("test", "ensemble", splits.test)] if splits.test else []
    rows = []
    for split, fold, subjects in parts:
        for subject in subjects:
            for label, structure in enumerate(files.structures, start=1):
                lost = (subject, structure) in missed
                dice = (
                    0.0 if lost else quality * (0.95 - hardness[subject]) - random.uniform(0, 0.02)
                )
                distance = np.inf if lost else 1 + 30 * (1 - dice) ** 1.5
                volume = 20 * label + 100 * hardness[subject]
                rows.append(
                    dict.fromkeys(METRICS_COLUMNS, 1)
                    | {"model": files.run, "dataset": "cohort", "synthetic": synthetic}
                    | {"split": split, "fold": fold, "seed": 0, "subject": subject}
                    | {"institution": institution[subject], "series": "", "structure": structure}
                    | {"label": label, "state": "missed" if lost else "ok"}
                    | {"dice": dice, "iou": dice / (2 - dice), "nsd": dice**0.5}
                    | {"nsd_tolerance_mm": 2.0}
                    | dict.fromkeys(["hd_mm", "hd95_mm", "assd_mm"], distance)
                    | {"volume_ref_ml": volume, "volume_pred_ml": 0 if lost else 1.02 * volume}
                    | {"volume_diff_ml": -volume if lost else 0.02 * volume}
                    | {"n_components_pred": 0 if lost else 2}
                )
    return pd.DataFrame(rows, columns=METRICS_COLUMNS)


def _compare(files: RunFiles, splits: Splits, about: pd.DataFrame, others: list[str]) -> None:
    compared = []
    for rank, name in enumerate(others, start=1):
        other = RunFiles(
            name, files.folder / f"other_{rank}", files.structures, statistics=files.statistics
        )
        other.folder.mkdir()
        _write_run(other, splits, about, [("s001", files.structures[0])], False, 1 - 0.03 * rank)
        paths = other.paths
        entry = ComparedRun(metrics=str(paths["metrics"]), label=name)
        compared.append((entry, paths["metrics"], paths["splits"]))
    plan = make_plan(files.run, others, files.structures, files.statistics, results_existed=False)
    files.paths["plan"] = files.folder / "plan.json"
    write_plan(files.paths["plan"], plan)
    tables = compare_model(
        files.run,
        files.paths["metrics"],
        files.paths["splits"],
        compared,
        structures=files.structures,
        plan=files.paths["plan"],
        config=files.statistics,
    )
    for name in ("compared", "comparisons", "failure_rates", "bland_altman", "sensitivity"):
        files.paths[name] = files.folder / f"{name}.csv"
        write_table(files.paths[name], tables[name])
