"""Writing the ensemble of a model as a MONAI bundle; the same files give the same bytes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from crossfold import __version__
from crossfold.bundling.card import model_card
from crossfold.bundling.closure import modules_of, requirements_of
from crossfold.bundling.documents import inference, metadata
from crossfold.config.learning import PLACE
from crossfold.config.models import ModelConfig
from crossfold.config.prediction import PostprocessingConfig
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import Plan
from crossfold.data.ranges import training_ranges
from crossfold.data.splits import Splits
from crossfold.images import atomic_directory
from crossfold.learning.checkpoints import NetworkCard, load_checkpoint
from crossfold.prediction.bundle import (
    FORMAT,
    HASHES,
    MODEL,
    REQUIREMENTS,
    WEIGHTS,
    Bundle,
    sha256,
)

PREDICTION = ("crossfold.prediction.__main__", "crossfold.prediction.monai_parts")
# Packages that no module of Crossfold imports: `python -m monai.bundle run` needs the first two,
# some networks of MONAI the last.
FOR_MONAI = ("fire", "ignite", "einops")

METRICS = ("dice", "nsd", "hd95_mm")
METRIC_COLUMNS = (
    *("split", "structure", "metric", "unit", "n", "n_missed"),
    *("mean", "median", "ci_statistic", "ci_low", "ci_high"),
)

# The configuration imports this: MONAI's tools put the folder of a bundle on Python's search path.
_SCRIPTS = '''"""Where this bundle is; importing it puts the code in it on the search path."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).absolute().parents[1])
sys.path.insert(0, f"{ROOT}/code")
'''


@dataclass(frozen=True)
class BundleSources:
    """What a bundle is made from.

    Parameters
    ----------
    checkpoints
        Checkpoint of each fold.
    preprocessed
        Directory written by `preprocess_dataset`.
    splits, intensities, dataset, summary
        splits.csv, intensities.csv, dataset.csv and metrics_summary.csv.
    content
        dataset.json: digests of the images.
    decided
        postprocessing.json, where it is decided out of fold.
    """

    checkpoints: Mapping[int, Path]
    preprocessed: Path
    splits: Path
    intensities: Path
    dataset: Path
    content: Path
    summary: Path
    decided: Path | None


def write_bundle(
    path: Path,
    sources: BundleSources,
    *,
    run: str,
    model: ModelConfig,
    epoch: int,
    synthetic: bool = False,
    confidence: float = 0.95,
) -> None:
    """Write a bundle; its folder appears whole or not at all.

    Parameters
    ----------
    path
        Folder to write.
    sources
        Files.
    run
        A model, or `<model>@<epoch>`.
    model
        Its configuration.
    epoch
        Of the checkpoints.
    synthetic
        Whether the images are computed.
    confidence
        Level of the intervals in the summary.

    Raises
    ------
    CrossfoldError
        If a checkpoint is missing or damaged, or the network's code cannot be found.
    """
    members = {fold: load_checkpoint(file) for fold, file in sources.checkpoints.items()}
    card = next(iter(members.values()))[1]
    bundle = _describe(path, sources, run=run, model=model, epoch=epoch, confidence=confidence)
    with atomic_directory(path) as folder:
        for name in ("configs", "models", "docs", "scripts"):
            (folder / name).mkdir()
        for fold, file in sources.checkpoints.items():
            shutil.copyfile(file, folder / WEIGHTS.format(fold=fold))
        _write_state(folder / "models" / "model.pt", [network for network, _ in members.values()])
        packages = _write_code(folder, card)
        _write_json(folder / MODEL, json.loads(bundle.model_dump_json(by_alias=True)))
        _write_json(folder / "configs/metadata.json", metadata(bundle, card, packages))
        _write_json(folder / "configs/inference.json", inference(bundle))
        text = model_card(bundle, card, synthetic=synthetic)
        (folder / "docs/README.md").write_text(text, encoding="utf-8")
        _write_json(folder / HASHES, _hashes(folder, sources))


def _describe(
    path: Path,
    sources: BundleSources,
    *,
    run: str,
    model: ModelConfig,
    epoch: int,
    confidence: float,
) -> Bundle:
    splits = Splits.read(sources.splits)
    training_subjects = sorted({*splits.subjects("train", 0), *splits.subjects("val", 0)})
    spacing_mm: Sequence[float | None] = Plan.read(sources.preprocessed).spacing_mm
    if model.preprocessing.spacing_mm != "median":
        spacing_mm = model.preprocessing.spacing_mm
    steps = model.postprocessing
    if sources.decided:
        text = sources.decided.read_text(encoding="utf-8")
        steps = PostprocessingConfig.model_validate_json(text)
    ranges = training_ranges(
        Dataset.read(sources.dataset),
        pd.read_csv(sources.intensities, dtype={"subject": str}, keep_default_na=False),
        subjects=training_subjects,
        images=model.images,
    )
    x_mm, y_mm, z_mm = spacing_mm
    return Bundle(
        path=path,
        digest="",
        crossfold_version=__version__,
        name=run,
        description=model.description,
        dataset=model.dataset,
        epoch=epoch,
        images=model.images,
        structures=model.structures,
        derived_structures=model.derived_structures,
        spacing_mm=(x_mm, y_mm, z_mm),
        preprocessing=model.preprocessing,
        inference=model.inference,
        precision=model.training.precision,
        mirror_pairs=model.training.mirror_pairs,
        aggregation=model.ensemble_aggregation,
        postprocessing=steps,
        folds=tuple(sources.checkpoints),
        ranges=ranges,
        n_subjects={
            "training": len(training_subjects),
            "test": len(splits.test),
        },
        network=model.network.model_dump(mode="json", by_alias=True),
        training=model.training.model_dump(mode="json", by_alias=True, exclude={*PLACE}),
        metrics=_metrics(sources.summary, model, confidence),
    )


def _metrics(summary: Path, model: ModelConfig, confidence: float) -> list[dict[str, Any]]:
    """Return the rows of the summary that the ensemble is judged by, as JSON can hold them."""
    table = pd.read_csv(summary, dtype={"fold": str})
    chosen = table["fold"].isin(["pooled", "ensemble"]) & table["metric"].isin(METRICS)
    rows = table.loc[chosen, list(METRIC_COLUMNS)].to_dict("records")
    found = [{str(key): _plain(value) for key, value in row.items()} for row in rows]
    for row in found:
        row["confidence"] = None if row["ci_low"] is None else confidence
        if row["metric"] == "nsd":
            row["tolerance_mm"] = model.metrics.tolerance_of(row["structure"])
    return found


def _plain(value: Any) -> Any:
    """Return a cell as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def _write_state(path: Path, networks: Sequence[torch.nn.Module]) -> None:
    """Write the weights of `EnsembleNetwork` where MONAI's own tools look for them."""
    members = torch.nn.ModuleDict({"members": torch.nn.ModuleList(networks)})
    torch.save(dict(members.state_dict()), path)


def _write_code(folder: Path, card: NetworkCard) -> list[str]:
    """Copy the code that prediction needs, and write the packages that it needs."""
    files, packages = modules_of([*PREDICTION, card.target.rpartition(".")[0]])
    for name, file in files.items():
        target = folder / "code" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (folder / "scripts/__init__.py").write_text(_SCRIPTS, encoding="utf-8")
    requirements = requirements_of([*packages, *FOR_MONAI])
    (folder / REQUIREMENTS).write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return requirements


def _hashes(folder: Path, sources: BundleSources) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        "format": FORMAT,
        "files": {file.relative_to(folder).as_posix(): sha256(file) for file in files},
        "made_from": {
            "checkpoints": {str(fold): sha256(file) for fold, file in sources.checkpoints.items()},
            "splits": sha256(sources.splits),
            "dataset": json.loads(sources.content.read_text(encoding="utf-8")),
            "commit": _commit(),
        },
    }


def _commit() -> str:
    """Return the commit that is checked out; empty where there is none."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
