"""Summarise metrics with confidence intervals."""

import json
from pathlib import Path

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.summary import headline, summarise_metrics
from crossfold.evaluation.tables import read_metrics, write_table
from crossfold.images import atomic_path
from crossfold.workflow import job

with job(snakemake):
    metrics = read_metrics(Path(snakemake.input[0]))
    summary = summarise_metrics(metrics, StatisticsConfig(**snakemake.params.statistics))
    write_table(Path(snakemake.output.csv), summary)
    with atomic_path(snakemake.output.json) as path:
        path.write_text(json.dumps(headline(summary), indent=2) + "\n", encoding="utf-8")
