"""Summarise metrics with confidence intervals."""

from pathlib import Path

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.summary import summarise_metrics
from crossfold.evaluation.tables import read_metrics, write_table
from crossfold.workflow import job

with job(snakemake):
    metrics = read_metrics(Path(snakemake.input[0]))
    summary = summarise_metrics(metrics, StatisticsConfig(**snakemake.params.statistics))
    write_table(Path(snakemake.output[0]), summary)
