"""Publish a model."""

from pathlib import Path

from crossfold.publishing.publish import publish
from crossfold.workflow import job

with job(snakemake):
    publish(
        snakemake.params.model,
        configfiles=[Path(file) for file in snakemake.params.configfiles],
        inside_a_job=True,
    )
