"""Where every file lives, said once.

The constants are Snakemake patterns: `{dataset}`, `{model}` and `{fold}` name one entity each, and
`{run}` is a model, or `<model>@<epoch>` for the same model evaluated from an earlier checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from crossfold.errors import CrossfoldError

DATASET = "data/{dataset}/dataset.csv"
DATASET_IMAGES = "data/{dataset}/images"
DATASET_SOURCE = "data/{dataset}/source.json"

MODEL = "results/{model}"
CONFIG = f"{MODEL}/config.json"
DATASET_REPORT_CSV = f"{MODEL}/dataset_report.csv"
DATASET_REPORT_HTML = f"{MODEL}/dataset_report.html"
DATASET_CONTENT = f"{MODEL}/dataset.json"
SPLITS = f"{MODEL}/splits.csv"
MODEL_PLAN = f"{MODEL}/plan.json"
PREPROCESSED = f"{MODEL}/preprocessed"
INTENSITIES = f"{MODEL}/intensities.csv"
PATCH_SAMPLING = f"{MODEL}/patch_sampling"
CHECKPOINTS = f"{MODEL}/folds/{{fold}}/checkpoints"
TRAINING = f"{MODEL}/folds/{{fold}}/training.csv"
MACHINE = f"{MODEL}/folds/{{fold}}/machine.json"
TENSORBOARD = f"{MODEL}/folds/{{fold}}/tensorboard"
EXAMPLE_IMAGES = f"{MODEL}/folds/{{fold}}/example_images"

RUN = "results/{run}"
FOLD = f"{RUN}/folds/{{fold}}"
FOLD_POSTERIORS = f"{FOLD}/posteriors"
FOLD_SEGMENTATIONS = f"{FOLD}/segmentations"
FOLD_METRICS = f"{FOLD}/metrics.csv"
ENSEMBLE_POSTERIORS = f"{RUN}/ensemble/posteriors"
ENSEMBLE_SEGMENTATIONS = f"{RUN}/ensemble/segmentations"
ENSEMBLE_UNCERTAINTY = f"{RUN}/ensemble/uncertainty"
ENSEMBLE_DISAGREEMENT = f"{RUN}/ensemble/disagreement"
ENSEMBLE_METRICS = f"{RUN}/ensemble_metrics.csv"
METRICS = f"{RUN}/metrics.csv"
METRICS_SUMMARY = f"{RUN}/metrics_summary.csv"
EPOCHS = f"{MODEL}/epochs.csv"
POSTPROCESSING = f"{RUN}/postprocessing.csv"
POSTPROCESSING_DECIDED = f"{RUN}/postprocessing.json"
NSD_CURVE = f"{RUN}/metrics/nsd_curve.csv"
CALIBRATION_BINS = f"{RUN}/metrics/calibration_bins.csv"
POSTERIOR_METRICS = f"{RUN}/metrics/posteriors.csv"
INSPECTION = f"{RUN}/outliers/inspection.csv"
OUTLIERS = f"{RUN}/outliers/outliers.csv"
OUTLIERS_BY_REASON = f"{RUN}/outliers/by_reason.csv"
OUTLIERS_TEXT = f"{RUN}/outliers/{{split}}_outliers.txt"
ANNOTATIONS = f"{MODEL}/annotations/{{view}}"
PLAN = f"{RUN}/statistics/plan.json"
COMPARED_RUNS = f"{RUN}/statistics/runs.csv"
COMPARED_METRICS = f"{RUN}/statistics/compared.csv"
STATISTIC = f"{RUN}/statistics/{{table}}"
STATISTICS_TABLES = (
    *("comparisons", "sensitivity", "omnibus", "ranks", "failure_rates", "bland_altman"),
    *("method", "leaks", "wilcoxon", "mann_whitney"),
)
FIGURE = f"{RUN}/figures/{{figure}}"
THUMBNAILS = f"{RUN}/figures/thumbnails"
TABLE = f"{RUN}/tables/{{table}}"
REPORTING = f"{RUN}/reporting/{{document}}"
REPORT = f"{RUN}/report.html"
METRICS_JSON = f"{RUN}/metrics.json"
BUNDLE = f"{RUN}/model"
BUNDLE_VERIFIED = f"{RUN}/model_verified.json"
SEARCH_ROUND = f"{MODEL}/search/rounds/{{round}}"
SEARCH_PROPOSALS = f"{SEARCH_ROUND}/proposals.json"
SEARCH_TRIALS = f"{SEARCH_ROUND}/trials.csv"
SEARCH_CURVES = f"{SEARCH_ROUND}/curves.csv"
SEARCH_TRIAL = f"{MODEL}/search/trials/{{trial}}/folds/{{fold}}"
SEARCH_BEST = f"{MODEL}/search/best.yaml"
SEARCH = f"{MODEL}/search.csv"
SEARCH_PAGE = f"{MODEL}/search.html"
HOOK = f"{MODEL}/hooks/post_cross_validation.txt"
REGISTERED_MODEL = f"{RUN}/registered_model.json"
DEPLOYED = f"{RUN}/hooks/model_deployment.txt"
MANIFEST = f"{MODEL}/MANIFEST.json"
PROVENANCE = f"{MODEL}/provenance.json"

# File systems hold names of 255 bytes; suffixes and the prefix of unfinished files need some.
LONGEST_SUBJECT = 200


def checkpoint(directory: str | os.PathLike[str], epoch: int) -> Path:
    """Return the checkpoint of an epoch in a fold's directory of checkpoints."""
    return Path(directory) / f"epoch_{epoch:03d}.safetensors"


def best_checkpoint(directory: str | os.PathLike[str]) -> Path:
    """Return the checkpoint of the epoch that did best on validation crops, if it is kept."""
    return Path(directory) / "best.safetensors"


def subject_file(directory: str | os.PathLike[str], subject: str, suffix: str = ".nii.gz") -> Path:
    """Return the file of a subject in a directory.

    Subjects are any string; what a file name cannot hold is percent-encoded.

    Raises
    ------
    CrossfoldError
        If the subject is empty, or too long for a file name.

    Examples
    --------
    >>> subject_file("val", "P 01/a").name
    'P 01%2Fa.nii.gz'
    """
    name = quote(subject, safe=" ", errors="surrogatepass")
    if name.startswith("."):
        name = name.replace(".", "%2E", 1)
    if not 0 < len(name) <= LONGEST_SUBJECT:
        raise CrossfoldError(
            f"dataset.csv: subject `{subject}` takes {len(name)} bytes in the name of a file",
            remedy=f"give it 1 to {LONGEST_SUBJECT} letters",
        )
    return Path(directory) / f"{name}{suffix}"


def subject_of(path: str | os.PathLike[str], suffix: str = ".nii.gz") -> str:
    """Return the subject that a file belongs to, the inverse of `subject_file`."""
    return unquote(Path(path).name.removesuffix(suffix), errors="surrogatepass")
