"""A made-up run of two folds as it lies on disk, with images of 24 voxels along each side."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from crossfold.config.models import ModelConfig
from crossfold.config.statistics import StatisticsConfig
from crossfold.data.splits import Fold, Member, Splits
from crossfold.evaluation.summary import summarise_metrics
from crossfold.evaluation.tables import METRICS_COLUMNS, write_metrics, write_table
from crossfold.paper.catalogue import FIGURES
from crossfold.paths import subject_file
from crossfold.provenance.manifest import UNLISTED, Entry, Kept, Manifest, write_manifest

RUN = "Tiny"
STRUCTURES = ("gland", "organ & <b>rim</b>")
# What would end an attribute, a tag or a script, were it not escaped.
AWKWARD = "P<b>&\"1' </script>"
SIZE = 24


def make_run(root: Path, *, subjects: int = 14, test: int = 4, images: bool = True) -> Path:
    """Write data/tiny and results/Tiny below root, and return the latter."""
    names = [AWKWARD, *(f"case_{number:03d}" for number in range(1, subjects))]
    results = root / "results" / RUN
    results.mkdir(parents=True)
    config = ModelConfig(
        dataset="tiny",
        description="Two <nested> spheres",
        images=("T1", "T2"),
        structures=STRUCTURES,
        training={"epochs": 3},
    )
    text = json.dumps(config.model_dump(mode="json", by_alias=True))
    (results / "config.json").write_text(text, encoding="utf-8")
    splits = _splits(names, test)
    splits.to_frame().to_csv(results / "splits.csv", index=False)
    metrics = _metrics(names, splits)
    write_metrics(results / "metrics.csv", metrics)
    summary = summarise_metrics(metrics, StatisticsConfig(resamples=999))
    write_table(results / "metrics_summary.csv", summary)
    _write_dataset_csv(root / "data" / "tiny", names)
    _write_training(results)
    if images:
        for number, name in enumerate(names):
            _write_images(root, name, number, _predicted_by(splits, name))
    return results


def publish(root: Path, *, left_out: str = "", commit: str = "0123456789" * 4) -> Path:
    """Write a manifest of the run and its dataset as they are."""
    files = {}
    folders = (root / "results" / RUN, root / "data" / "tiny")
    for file in sorted(file for folder in folders for file in folder.rglob("*")):
        if file.is_file() and file.name not in UNLISTED:
            path = file.relative_to(root).as_posix()
            kept: Kept = "left out" if left_out and left_out in path else "git"
            content = file.read_bytes()
            md5 = hashlib.md5(content).hexdigest()
            files[path] = Entry(md5=md5, size=len(content), kept=kept)
    manifest = Manifest(
        model=RUN,
        commit=commit,
        uncommitted=("config.yaml",),
        configuration={"description": "Two <nested> spheres"},
        seeds={"training": 3},
        data={"name": "tiny", "images": f"{'d' * 32}.dir", "table": "e" * 32},
        lock={"locks/core.txt": "f" * 32},
        software={"crossfold": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu"},
        machines={},
        directories={},
        files=files,
    )
    return write_manifest(manifest, root)


def report_inputs(results: Path) -> dict[str, Any]:
    """Write what else a report shows, and return all that it is made from."""
    write_table(results / "statistics" / "comparisons.csv", _comparisons())
    write_table(results / "outliers" / "outliers.csv", _outliers())
    figures = results / "figures"
    figures.mkdir()
    for number, name in enumerate(FIGURES):
        _draw(figures / f"{name}.png", number)
        (figures / f"{name}.pdf").write_bytes(b"%PDF-")
        reason = pd.DataFrame({"reason": ["No run was compared."]})
        table = reason if name == "ranks" else pd.DataFrame({"x": [1]})
        write_table(figures / f"{name}.csv", table)
    (figures / "thumbnails").mkdir()
    for name in (AWKWARD, "case_001"):
        _draw(subject_file(figures / "thumbnails", name, ".png"), 5)
    return {
        "config": results / "config.json",
        "splits": results / "splits.csv",
        "metrics": results / "metrics.csv",
        "summary": results / "metrics_summary.csv",
        "dataset": results.parents[1] / "data" / "tiny" / "dataset.csv",
        "comparisons": results / "statistics" / "comparisons.csv",
        "outliers": results / "outliers" / "outliers.csv",
        "training": [results / "folds" / str(fold) / "training.csv" for fold in (0, 1)],
        "figures": sorted(figures.glob("*.png")),
        "thumbnails": figures / "thumbnails",
    }


def _splits(names: list[str], test: int) -> Splits:
    kept, development = set(names[:test]), names[test:]
    halves = development[::2], development[1::2]
    folds = [
        Fold(frozenset(train), frozenset(val), frozenset(kept))
        for train, val in (halves, halves[::-1])
    ]
    members = tuple(Member(name, name, f"site {i % 2}") for i, name in enumerate(sorted(names)))
    return Splits(members, tuple(folds))


def _predicted_by(splits: Splits, name: str) -> str:
    if name in splits.test:
        return "ensemble"
    return next(str(fold) for fold in splits.folds if name in splits.divisions[fold].val)


def _metrics(names: list[str], splits: Splits) -> pd.DataFrame:
    random = np.random.default_rng(0)
    institutions = {member.subject: member.institution for member in splits.members}
    rows = []
    for number, name in enumerate(names):
        fold = _predicted_by(splits, name)
        for label, structure in enumerate(STRUCTURES, start=1):
            missed = number == 1 and label == 2
            dice = 0.0 if missed else round(0.5 + 0.4 * random.random(), 3)
            distance = np.inf if missed else round(10 * (1 - dice), 2)
            rows.append(
                {
                    "model": RUN,
                    "dataset": "tiny",
                    "synthetic": True,
                    "fold": fold,
                    "split": "test" if fold == "ensemble" else "val",
                    "seed": 0,
                    "subject": name,
                    "institution": institutions[name],
                    "series": "",
                    "structure": structure,
                    "label": label,
                    "nsd_tolerance_mm": 1,
                    "state": "missed" if missed else "ok",
                    "dice": dice,
                    "iou": dice / 2,
                    "nsd": dice,
                    "hd_mm": distance,
                    "hd95_mm": distance,
                    "assd_mm": distance,
                    "volume_ref_ml": 4,
                    "volume_pred_ml": 0 if missed else 5,
                    "volume_diff_ml": 1,
                    "volume_diff_pct": 25,
                    "fp_volume_ml": 1,
                    "fn_volume_ml": 0,
                    "n_components_ref": 1,
                    "n_components_pred": 1,
                    "spacing_x_mm": 1,
                    "spacing_y_mm": 1,
                    "spacing_z_mm": 2,
                }
            )
    return pd.DataFrame(rows, columns=METRICS_COLUMNS)


def _write_dataset_csv(folder: Path, names: list[str]) -> None:
    rows = []
    for number, name in enumerate(names):
        for volume, channel in enumerate(("T1", "T2")):
            rows.append((name, channel, f"images/{number}.nii.gz", "", volume))
        for label, structure in enumerate(STRUCTURES, start=1):
            rows.append((name, structure, f"images/{number}_labels.nii.gz", label, ""))
    (folder / "images").mkdir(parents=True)
    columns = ["subject", "channel", "filePath", "label", "volume"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "dataset.csv", index=False)


def _write_images(root: Path, name: str, number: int, fold: str) -> None:
    """Write a 4-D image, its labels, a prediction and what the uncertainty is made from."""
    # Voxels of 2 mm along z, and a file whose x runs from right to left.
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    places = np.indices((SIZE, SIZE, SIZE)).transpose(1, 2, 3, 0) - SIZE / 2
    radius = np.linalg.norm(places, axis=-1)
    random = np.random.default_rng(number)
    image = (100 - 4 * radius + 5 * random.standard_normal(radius.shape)).astype(np.float32)
    folder = root / "data" / "tiny" / "images"
    _save(folder / f"{number}.nii.gz", np.stack([image, -image], axis=-1), affine)
    labels = np.where(radius < 5, 1, np.where(radius < 8, 2, 0)).astype(np.uint8)
    _save(folder / f"{number}_labels.nii.gz", labels, affine)
    results = root / "results" / RUN
    predicted = np.roll(labels, 1 + number % 3, axis=0)
    if fold == "ensemble":
        _save(subject_file(results / "ensemble" / "segmentations", name), predicted, affine)
        entropy = np.exp(-((radius - 8) ** 2) / 4)
        file = subject_file(results / "ensemble" / "uncertainty", name)
        _save(file, np.rint(255 * entropy).astype(np.uint8), affine, slope=1 / 255)
    else:
        folder = results / "folds" / fold
        _save(subject_file(folder / "segmentations" / "val", name), predicted, affine)
        posterior = np.stack([180 * (predicted == label) for label in (1, 2)], axis=-1)
        file = subject_file(folder / "posteriors" / "val", name)
        _save(file, posterior.astype(np.uint8), affine, slope=1 / 255)


def _save(file: Path, array: np.ndarray, affine: np.ndarray, slope: float | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    nifti = nib.Nifti1Image(array, affine)
    nifti.header.set_slope_inter(slope, 0 if slope else None)
    nib.save(nifti, file)


def _write_training(results: Path) -> None:
    columns = ["epoch", "phase", "metric", "value", "lr", "seconds"]
    rows = [(epoch, "train", "loss", 1 / epoch, 0.01, 20.5) for epoch in (1, 2, 3)]
    for fold in (0, 1):
        file = results / "folds" / str(fold) / "training.csv"
        write_table(file, pd.DataFrame(rows, columns=columns))


def _comparisons() -> pd.DataFrame:
    """Return one comparison of each verdict, and one that nobody planned."""
    verdicts = {
        "a_better": (0.021, 0.008, 0.034),
        "b_better": (-0.03, -0.05, -0.01),
        "non_inferior": (0.001, -0.004, 0.006),
        "inconclusive": (0.0, -0.02, 0.02),
        "refused": (np.nan,) * 3,
        "not_computed": (np.nan,) * 3,
    }
    rows = [
        {
            "family_id": "planned",
            "role": "confirmatory",
            "comparison_id": verdict,
            "run_a": RUN,
            "run_b": "Other <i>",
            "group_a": "",
            "group_b": "",
            "split": "val",
            "design": "paired",
            "structure": "gland",
            "metric": "dice",
            "unit": "1",
            "better": "higher",
            "n": 10,
            "n_a": 10,
            "n_b": 10,
            "n_dropped": 0,
            "n_failed_a": 0,
            "n_failed_b": 1,
            "diff_hl": hl,
            "diff_ci_low": low,
            "diff_ci_high": high,
            "test": "Wilcoxon",
            "correction": "holm",
            "m": 4,
            "p_adjusted": np.nan if np.isnan(hl) else 0.0123,
            "margin": 0.01,
            "verdict": verdict,
            "reason": "it was trained on case_001" if np.isnan(hl) else "",
        }
        for verdict, (hl, low, high) in verdicts.items()
    ]
    return pd.DataFrame([*rows, {**rows[0], "role": "exploratory"}])


def _outliers() -> pd.DataFrame:
    base = {"model": RUN, "institution": "", "series": "", "unit": "1", "note": ""}
    columns = ["split", "fold", "subject", "structure", "metric", "value", "reason", "class"]
    rows = [
        ("test", "ensemble", "case_001", STRUCTURES[1], "dice", 0.0, "missed", "hard"),
        ("test", "ensemble", "case_001", STRUCTURES[1], "hd95_mm", np.inf, "hd95_mm", "clinical"),
        ("test", "0", "case_002", "gland", "dice", 0.1, "low_dice", "clinical"),
        ("val", "1", "case_005", "gland", "dice", 0.6, "worst", "rank"),
    ]
    return pd.DataFrame(rows, columns=columns).assign(**base, threshold=0.5, severity=1.0, rank=1)


def _draw(file: Path, number: int) -> None:
    """Write a picture of the width of a printed figure."""
    across = np.linspace(0, 200, 2126)[None, :, None]
    picture = np.broadcast_to(255 - across * (number % 3 + 1) / 3, (90, 2126, 3))
    Image.fromarray(picture.astype(np.uint8)).save(file)
