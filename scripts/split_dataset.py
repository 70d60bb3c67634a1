"""Divide the usable subjects into test set and folds."""

from pathlib import Path

from crossfold.config.splits import SplitsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.split_function import divide_subjects
from crossfold.data.validation import read_report, require_usable
from crossfold.workflow import job

with job(snakemake):
    report = Path(snakemake.input.report)
    usable = require_usable(read_report(report), report)
    config = SplitsConfig(**snakemake.params.model["splits"])
    divide_subjects(Dataset.read(snakemake.input.csv), usable, config).write(
        Path(snakemake.output[0])
    )
