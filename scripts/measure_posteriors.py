"""Measure calibration, uncertainty and what to inspect, out of fold and of the ensemble."""

from pathlib import Path

from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.evaluation.posteriors import PosteriorMeasurement, Source, measure_posteriors
from crossfold.evaluation.tables import write_table
from crossfold.workflow import job

with job(snakemake):
    files = snakemake.input
    splits = Splits.read(Path(files.splits))
    folds = zip(splits.folds, files.fold_posteriors, files.fold_segmentations, strict=True)
    sources = [
        Source(
            "val",
            str(fold),
            splits.subjects("val", fold),
            Path(posteriors) / "val",
            Path(segmentations) / "val",
        )
        for fold, posteriors, segmentations in folds
    ]
    if files.ensemble_posteriors:
        # A list of one directory reads as that directory.
        ensemble = [str(files.ensemble_posteriors), str(files.ensemble_segmentations)]
        sources.append(Source("test", "ensemble", splits.test, *map(Path, ensemble)))
    tables = measure_posteriors(
        Dataset.read(files.csv),
        sources,
        PosteriorMeasurement.from_params(snakemake.wildcards.run, snakemake.params),
        workers=snakemake.threads,
    )
    for name, table in tables.items():
        write_table(Path(snakemake.output[name]), table)
