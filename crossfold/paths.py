"""Where every file lives, said once.

The constants are Snakemake patterns: `{dataset}`, `{model}` and `{fold}` name one entity each, and
`{run}` is a model, or `<model>@<epoch>` for the same model evaluated from an earlier checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

DATASET = "data/{dataset}/dataset.csv"
DATASET_IMAGES = "data/{dataset}/images"

MODEL = "results/{model}"
CONFIG = f"{MODEL}/config.json"
DATASET_REPORT_CSV = f"{MODEL}/dataset_report.csv"
DATASET_REPORT_HTML = f"{MODEL}/dataset_report.html"
SPLITS = f"{MODEL}/splits.csv"
PREPROCESSED = f"{MODEL}/preprocessed"
CHECKPOINTS = f"{MODEL}/folds/{{fold}}/checkpoints"
TRAINING = f"{MODEL}/folds/{{fold}}/training.csv"

RUN = "results/{run}"
FOLD = f"{RUN}/folds/{{fold}}"
FOLD_POSTERIORS = f"{FOLD}/posteriors"
FOLD_SEGMENTATIONS = f"{FOLD}/segmentations"
FOLD_METRICS = f"{FOLD}/metrics.csv"
ENSEMBLE_POSTERIORS = f"{RUN}/ensemble/posteriors"
ENSEMBLE_SEGMENTATIONS = f"{RUN}/ensemble/segmentations"
ENSEMBLE_UNCERTAINTY = f"{RUN}/ensemble/uncertainty"
ENSEMBLE_METRICS = f"{RUN}/ensemble_metrics.csv"
METRICS = f"{RUN}/metrics.csv"
METRICS_SUMMARY = f"{RUN}/metrics_summary.csv"
MONTAGE = f"{RUN}/figures/montage"


def checkpoint(directory: str | os.PathLike[str], epoch: int) -> Path:
    """Return the checkpoint of an epoch in a fold's directory of checkpoints."""
    return Path(directory) / f"epoch_{epoch:03d}.safetensors"


def subject_file(
    directory: str | os.PathLike[str], subject: str, suffix: str = ".nii.gz"
) -> Path:
    """Return the file of a subject in a directory.

    Subjects are any string; what a file name cannot hold is percent-encoded.

    Examples
    --------
    >>> subject_file("val", "P 01/a").name
    'P 01%2Fa.nii.gz'
    """
    name = "".join(
        character
        if (character.isalnum() or character in " _-.") and not (position == 0 and character in ". ")
        else quote(character, safe="") if character not in ". " else f"%{ord(character):02X}"
        for position, character in enumerate(subject)
    )
    return Path(directory) / f"{name}{suffix}"


def subject_of(path: str | os.PathLike[str], suffix: str = ".nii.gz") -> str:
    """Return the subject that a file belongs to, the inverse of `subject_file`."""
    return unquote(Path(path).name.removesuffix(suffix))
