"""Measure the validation and test segmentations of one fold."""

from pathlib import Path

import pandas as pd

from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.evaluation.measure import Measurement, measure_segmentations
from crossfold.evaluation.tables import write_metrics
from crossfold.workflow import job

with job(snakemake):
    fold = int(snakemake.wildcards.fold)
    splits = Splits.read(Path(snakemake.input.splits))
    subjects = {"val": splits.subjects("val", fold), "test": splits.test}
    frames = [
        measure_segmentations(
            Dataset.read(snakemake.input.csv),
            Path(snakemake.input.segmentations) / split,
            names,
            Measurement.from_params(snakemake.wildcards.run, snakemake.params, split, str(fold)),
            workers=snakemake.threads,
        )
        for split, names in subjects.items()
        if names
    ]
    write_metrics(Path(snakemake.output[0]), pd.concat(frames))
