"""Measure the ensemble on the test subjects."""

from pathlib import Path

from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.evaluation.measure import Measurement, measure_segmentations
from crossfold.evaluation.tables import write_metrics
from crossfold.workflow import job

with job(snakemake):
    metrics = measure_segmentations(
        Dataset.read(snakemake.input.csv),
        Path(snakemake.input.segmentations),
        Splits.read(Path(snakemake.input.splits)).test,
        Measurement.from_params(snakemake.wildcards.run, snakemake.params, "test", "ensemble"),
        workers=snakemake.threads,
    )
    write_metrics(Path(snakemake.output[0]), metrics)
