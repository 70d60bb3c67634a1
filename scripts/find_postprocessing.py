"""Decide on the results out of fold which steps of post-processing help."""

import logging
from pathlib import Path

from crossfold.config.prediction import PostprocessingConfig
from crossfold.config.statistics import StatisticsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.splits import Splits
from crossfold.evaluation.measure import Measurement
from crossfold.evaluation.postprocessing import find_postprocessing
from crossfold.evaluation.tables import write_table
from crossfold.images import atomic_path
from crossfold.paths import subject_file
from crossfold.workflow import job

with job(snakemake):
    params, splits = snakemake.params, Splits.read(Path(snakemake.input.splits))
    table, decided = find_postprocessing(
        Dataset.read(snakemake.input.csv),
        {
            subject: subject_file(Path(folder) / "val", subject)
            for fold, folder in zip(splits.folds, snakemake.input.posteriors, strict=True)
            for subject in splits.subjects("val", fold)
        },
        PostprocessingConfig(**params.model["postprocessing"]),
        Measurement.from_params(snakemake.wildcards.run, params, "val", "pooled"),
        StatisticsConfig(**params.statistics),
        workers=snakemake.threads,
    )
    write_table(Path(snakemake.output.table), table)
    text = decided.model_dump_json(exclude_defaults=True, indent=2)
    logging.getLogger("crossfold").info("adopted: %s", text)
    with atomic_path(snakemake.output.decided) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
