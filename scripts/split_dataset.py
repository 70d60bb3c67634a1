"""Divide the usable subjects into test set and folds."""

from pathlib import Path

import pandas as pd

from crossfold.config.splits import SplitsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.splits import make_splits
from crossfold.data.validation import require_usable
from crossfold.workflow import job

with job(snakemake):
    report = Path(snakemake.input.report)
    frame = pd.read_csv(report, dtype=str, keep_default_na=False)
    usable = require_usable(frame, report)
    metadata = Dataset.read(snakemake.input.csv).metadata
    subjects = metadata[metadata["subject"].isin(usable)]
    config = SplitsConfig(**snakemake.params.model["splits"])
    make_splits(subjects, config).write(Path(snakemake.output[0]))
