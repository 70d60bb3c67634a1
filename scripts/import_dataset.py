"""Bring a dataset into the working format."""

from pathlib import Path

from pydantic import TypeAdapter

from crossfold.config.datasets import DatasetConfig
from crossfold.data.importers import import_dataset
from crossfold.workflow import job, write_source

with job(snakemake):
    import_dataset(
        snakemake.wildcards.dataset,
        TypeAdapter(DatasetConfig).validate_python(snakemake.params.config),
        Path(snakemake.output.csv).parent,
    )
    write_source(Path(snakemake.output.source), snakemake.params.source)
