"""Write the tables and macros of a paper."""

from pathlib import Path

from crossfold.config.statistics import StatisticsConfig
from crossfold.paper.tables import write_tables
from crossfold.workflow import files_of, job

with job(snakemake):
    files = files_of(snakemake.input)
    write_tables(
        files,
        Path(snakemake.output[0]).parent,
        run=snakemake.wildcards.run,
        statistics=StatisticsConfig(**snakemake.params.about["statistics"]),
        dataset=snakemake.params.about["dataset"],
    )
