"""The files of a run that are small enough for unit tests: random images, untrained networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from crossfold.bundling.writing import BundleSources, write_bundle
from crossfold.config.labels import label_values
from crossfold.config.models import ModelConfig
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import Plan, preprocess_dataset
from crossfold.data.splits import Splits
from crossfold.learning.checkpoints import NetworkCard, save_checkpoint
from crossfold.prediction.ensemble import EnsembleFolders, ensemble_folds
from crossfold.prediction.fold import predict_fold
from crossfold.prediction.member import PredictionSettings

SUBJECTS = ("kim", "lee", "ray")
TEST = "ray"
STRUCTURES = ("left", "right")
# Axes of the files: anterior to posterior, left to right, superior to inferior.
AFFINE = np.array([[0, 2.0, 0, -10], [-1.5, 0, 0, 30], [0, 0, -3.0, 7], [0, 0, 0, 1]])
SHAPE = (14, 12, 9)
SUMMARY = pd.DataFrame(
    {
        "split": ["val", "val", "test"],
        "fold": ["pooled", "pooled", "ensemble"],
        "structure": "left",
        "metric": ["dice", "nsd", "hd95_mm"],
        "unit": ["1", "1", "mm"],
        "n": [12, 12, 1],
        "n_missed": [0, 0, 1],
        "mean": [0.8123, 0.9, np.nan],
        "median": [0.8, 0.9, np.inf],
        "ci_statistic": ["mean", "mean", "median"],
        "ci_low": [0.75, 0.85, np.nan],
        "ci_high": [0.87, 0.95, np.nan],
    }
)


@dataclass(frozen=True)
class SmallRun:
    """A run in a folder."""

    folder: Path
    model: ModelConfig

    @property
    def dataset(self) -> Dataset:
        return Dataset.read(self.folder / "dataset.csv")

    @property
    def sources(self) -> BundleSources:
        return BundleSources(
            checkpoints={fold: self.folder / f"{fold}.safetensors" for fold in (0, 1)},
            preprocessed=self.folder / "preprocessed",
            splits=self.folder / "splits.csv",
            intensities=self.folder / "intensities.csv",
            dataset=self.folder / "dataset.csv",
            content=self.folder / "dataset.json",
            summary=self.folder / "metrics_summary.csv",
            decided=None,
        )

    def bundle(self, name: str = "model") -> Path:
        path = self.folder / name
        write_bundle(path, self.sources, run="Small", model=self.model, epoch=1)
        return path

    def predict(self) -> None:
        """Write what the pipeline writes of the test subject."""
        model = self.model
        labels = label_values(model.structures, model.derived_structures)
        for fold, checkpoint in self.sources.checkpoints.items():
            predict_fold(
                checkpoint,
                preprocessed=self.sources.preprocessed,
                dataset=self.dataset,
                subjects={"test": [TEST]},
                settings=PredictionSettings(
                    model.inference,
                    model.postprocessing.applied_to_folds,
                    labels,
                    model.training.mirror_pairs,
                ),
                posteriors=self.folder / f"{fold}/posteriors",
                segmentations=self.folder / f"{fold}/segmentations",
            )
        names = ("posteriors", "segmentations", "uncertainty", "disagreement")
        ensemble_folds(
            [self.folder / f"{fold}/posteriors/test" for fold in (0, 1)],
            subjects=[TEST],
            labels=labels,
            folders=EnsembleFolders(*(self.folder / name for name in names)),
            aggregation=model.ensemble_aggregation,
            postprocessing=model.postprocessing,
        )


def small_run(folder: Path, **sections: Any) -> SmallRun:
    """Make the files of a run.

    Parameters
    ----------
    folder
        Where to.
    sections
        Of the configuration of the model.
    """
    model = ModelConfig(
        **{"dataset": "small", "images": ["ct"], "structures": STRUCTURES, **sections}
    )
    _write_dataset(folder, model)
    splits = pd.DataFrame(
        [
            (subject, subject, "", fold, role)
            for fold, roles in enumerate((("train", "val", "test"), ("val", "train", "test")))
            for subject, role in zip(SUBJECTS, roles, strict=True)
        ],
        columns=["subject", "group", "institution", "fold", "role"],
    )
    Splits.from_frame(splits).write(folder / "splits.csv")
    plan = preprocess_dataset(
        Dataset.read(folder / "dataset.csv"),
        folder / "preprocessed",
        subjects=SUBJECTS,
        training_subjects=SUBJECTS[:2],
        images=model.images,
        structures=model.structures,
        config=model.preprocessing,
        intensities=folder / "intensities.csv",
    )
    _write_checkpoints(folder, model, plan)
    SUMMARY.to_csv(folder / "metrics_summary.csv", index=False)
    (folder / "dataset.json").write_text(json.dumps({"dataset": "small"}), encoding="utf-8")
    return SmallRun(folder, model)


def _write_dataset(folder: Path, model: ModelConfig) -> None:
    random = np.random.default_rng(0)
    masks = [model.preprocessing.mask] if model.preprocessing.mask else []
    rows = []
    for i, subject in enumerate(SUBJECTS):
        affine = AFFINE @ np.diag([1, 1, 1 + i / 4, 1])
        for channel in (*model.images, *model.structures, *masks):
            array = random.normal(40, 200, SHAPE).astype(np.float32)
            if channel not in model.images:
                array = (array > 0).astype(np.uint8)
            name = f"{subject}_{channel}.nii.gz"
            nib.save(nib.Nifti1Image(array, affine), folder / name)
            rows.append({"subject": subject, "channel": channel, "filePath": name})
    pd.DataFrame(rows).to_csv(folder / "dataset.csv", index=False)


def _write_checkpoints(folder: Path, model: ModelConfig, plan: Plan) -> None:
    arguments: Mapping[str, Any] = {
        "in_channels": len(model.images),
        "out_channels": len(model.structures) + 1,
        "channels": [4, 6],
        "strides": [[2, 2, 2]],
    }
    for fold in (0, 1):
        torch.manual_seed(fold)
        card = NetworkCard(
            "crossfold.learning.networks.UNet",
            dict(arguments),
            list(model.images),
            list(model.structures),
            list(plan.spacing_mm),
            [8, 8, 6],
        )
        network = card.build()
        with torch.no_grad():
            network.head.weight.mul_(4)
        save_checkpoint(folder / f"{fold}.safetensors", network, card, epoch=1)
