"""Divide the usable subjects into test set and folds."""

from pathlib import Path

from crossfold.config.splits import SplitsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.splits import make_splits
from crossfold.data.validation import read_report, require_usable
from crossfold.workflow import job

with job(snakemake):
    report = Path(snakemake.input.report)
    usable = require_usable(read_report(report), report)
    metadata = Dataset.read(snakemake.input.csv).metadata
    subjects = metadata[metadata["subject"].isin(usable)]
    config = SplitsConfig(**snakemake.params.model["splits"])
    make_splits(subjects, config).write(Path(snakemake.output[0]))
