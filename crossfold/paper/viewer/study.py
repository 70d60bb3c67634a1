"""What the viewer shows of a run: its subjects, their metrics and their volumes."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from crossfold import paths
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.tables import read_metrics
from crossfold.images import POSTERIOR_SCALE, Image, read_header, read_posterior
from crossfold.paths import subject_file
from crossfold.prediction.ensemble import normalised_entropy

NO_TEST_SET = (
    "There is no ensemble on a test set. Shown are all subjects out of fold: each as it was "
    "predicted by the one fold that was not trained on it."
)
# The browser is on the same machine: time counts, size does not.
_FASTEST = 1


@dataclass(frozen=True)
class ShownSubject:
    """A subject with the maps that were predicted for it.

    Parameters
    ----------
    name
        Name in dataset.csv.
    split, fold
        test and `ensemble`, or val and the number of the fold.
    segmentation
        Its label map.
    uncertainty
        Its map of normalised entropy, where there is one.
    posterior
        What that map can be computed from, where it is there.
    """

    name: str
    split: str
    fold: str
    segmentation: Path
    uncertainty: Path | None = None
    posterior: Path | None = None

    @property
    def has_uncertainty(self) -> bool:
        """Whether a map of uncertainty can be shown."""
        return self.uncertainty is not None or self.posterior is not None


@dataclass(frozen=True)
class Study:
    """A run with everything that can be shown of it.

    Parameters
    ----------
    run
        Model, or model and epoch.
    config
        What config.json holds.
    dataset
        Images and contours.
    metrics
        Rows of the ensemble on test subjects, and of each validation subject out of fold.
    subjects
        Subjects that were predicted; their positions are their addresses.
    """

    run: str
    config: Mapping[str, Any]
    dataset: Dataset
    metrics: pd.DataFrame
    subjects: tuple[ShownSubject, ...]

    @classmethod
    def read(cls, results: Path) -> Study:
        """Read a run.

        Parameters
        ----------
        results
            Its folder, `results/<run>` in the folder from which Snakemake was called.

        Raises
        ------
        CrossfoldError
            If the folder, its metrics, its segmentations or the dataset are missing.
        """
        results = results.resolve()
        run, root = results.name, results.parents[1]
        model = run.partition("@")[0]
        config_file = root / paths.CONFIG.format(model=model)
        metrics_file = _first_file(
            root / paths.METRICS.format(run=run), root / paths.ENSEMBLE_METRICS.format(run=run)
        )
        if not results.is_dir() or not config_file.is_file() or metrics_file is None:
            raise CrossfoldError(
                f"{results}: no results of a model there",
                remedy=f"name a folder such as results/Prostate, or make it first: "
                f"snakemake --cores all {paths.METRICS.format(run=run)}",
            )
        config = json.loads(config_file.read_text(encoding="utf-8"))
        dataset_file = root / paths.DATASET.format(dataset=config["dataset"])
        if not dataset_file.is_file():
            raise CrossfoldError(
                f"{dataset_file}: the dataset of {model} is not on this machine",
                remedy=f"import it: snakemake --cores all "
                f"{paths.DATASET.format(dataset=config['dataset'])}",
            )
        metrics = read_metrics(metrics_file)
        metrics = metrics[(metrics["split"] == "val") | (metrics["fold"] == "ensemble")]
        subjects = tuple(_shown_subjects(root, run, metrics))
        if not subjects:
            raise CrossfoldError(
                f"{results}: there is no segmentation of any subject",
                remedy="predict again: snakemake --cores all --forcerun predict_fold "
                f"{paths.METRICS.format(run=run)}",
            )
        return cls(run, config, Dataset.read(dataset_file), metrics, subjects)

    @property
    def volumes(self) -> tuple[str, ...]:
        """Names of the volumes that a subject can have."""
        images = tuple(f"image-{number}" for number in range(len(self.config["images"])))
        return (*images, "reference", "prediction", "uncertainty")

    @cached_property
    def listing(self) -> dict[str, Any]:
        """What the page needs to know before it loads a volume, as JSON can hold it."""
        by_subject = dict(iter(self.metrics.groupby(["subject", "split"], sort=False)))
        return {
            "run": self.run,
            "description": self.config.get("description", ""),
            "dataset": self.config["dataset"],
            "synthetic": bool(self.metrics["synthetic"].any()),
            "images": list(self.config["images"]),
            "structures": list(self.config["structures"]),
            "note": "" if any(s.split == "test" for s in self.subjects) else NO_TEST_SET,
            "subjects": [
                {
                    "name": subject.name,
                    "split": subject.split,
                    "fold": subject.fold,
                    "uncertainty": subject.has_uncertainty,
                    **_shown_metrics(
                        by_subject[subject.name, subject.split], self.config["structures"]
                    ),
                }
                for subject in self.subjects
            ],
        }

    def volume(self, position: int, name: str) -> bytes:
        """Return one volume of a subject as compressed NIfTI, on the grid of its source.

        Parameters
        ----------
        position
            Position of the subject in `subjects`.
        name
            One of `volumes`.

        Raises
        ------
        LookupError
            If there is no such subject or volume.
        CrossfoldError
            If its file is missing or unreadable.
        """
        if position not in range(len(self.subjects)) or name not in self.volumes:
            raise LookupError(f"subject {position} has no volume {name}")
        subject = self.subjects[position]
        if name == "reference":
            return _compressed(self.dataset.label_map(subject.name, self.config["structures"]))
        if name == "prediction":
            return _file_bytes(subject.segmentation)
        if name == "uncertainty":
            return _uncertainty(subject)
        channel = self.config["images"][int(name.removeprefix("image-"))]
        file = self.dataset.path(subject.name, channel)
        if read_header(file).ndim == 3:
            return _file_bytes(file)
        return _compressed(self.dataset.image(subject.name, channel))


def _first_file(*files: Path) -> Path | None:
    return next((file for file in files if file.is_file()), None)


def _shown_subjects(root: Path, run: str, metrics: pd.DataFrame) -> list[ShownSubject]:
    """Return the subjects that have a segmentation, those of the test set first."""
    measured = metrics[["subject", "split", "fold"]].drop_duplicates()
    shown = []
    for name, split, fold in measured.sort_values(["split", "subject"]).itertuples(index=False):
        if split == "test":
            segmentation = subject_file(root / paths.ENSEMBLE_SEGMENTATIONS.format(run=run), name)
            file = subject_file(root / paths.ENSEMBLE_UNCERTAINTY.format(run=run), name)
            maps = {"uncertainty": file if file.is_file() else None}
        else:
            place = {"run": run, "fold": fold}
            segmentation = subject_file(
                root / paths.FOLD_SEGMENTATIONS.format(**place) / split, name
            )
            file = subject_file(root / paths.FOLD_POSTERIORS.format(**place) / split, name)
            maps = {"posterior": file if file.is_file() else None}
        if segmentation.is_file():
            shown.append(ShownSubject(name, split, fold, segmentation, **maps))
    return shown


def _shown_metrics(rows: pd.DataFrame, own: Collection[str]) -> dict[str, Any]:
    """Return the mean Dice of a subject over its own structures, and the metrics of all."""
    dice = rows.loc[rows["structure"].isin(own), "dice"].mean()
    names = ["structure", "state", "dice", "nsd", "hd95_mm"]
    return {
        "dice": None if math.isnan(dice) else dice,
        "structures": [
            {key: _json_value(value) for key, value in zip(names, row, strict=True)}
            for row in rows[names].itertuples(index=False)
        ],
    }


def _json_value(value: Any) -> Any:
    """Return a number that JSON can hold: NaN becomes null, and infinity a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def _file_bytes(file: Path) -> bytes:
    """Return a NIfTI file as it is, compressed if it is not yet."""
    read_header(file)
    content = file.read_bytes()
    return content if file.suffix == ".gz" else gzip.compress(content, _FASTEST)


def _compressed(image: Image) -> bytes:
    header = image.header.copy()
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    nifti = nib.Nifti1Image(image.array, image.affine, header, dtype=image.array.dtype)
    return gzip.compress(nifti.to_bytes(), _FASTEST)


def _uncertainty(subject: ShownSubject) -> bytes:
    """Return the map of uncertainty of a subject, computed from its posterior if need be."""
    if subject.uncertainty is not None:
        return _file_bytes(subject.uncertainty)
    if subject.posterior is None:
        raise LookupError(f"{subject.name} has no map of uncertainty")
    posterior = read_posterior(subject.posterior)
    entropy = np.divide(
        normalised_entropy(posterior.array, POSTERIOR_SCALE), POSTERIOR_SCALE, dtype=np.float32
    )
    return _compressed(Image(entropy, posterior.affine, posterior.header))
