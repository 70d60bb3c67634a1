"""Write the page about a run."""

from pathlib import Path

from crossfold.config.statistics import StatisticsConfig
from crossfold.paper.facts import gather_facts
from crossfold.paper.report import write_report
from crossfold.workflow import files_of, job

with job(snakemake):
    files = files_of(snakemake.input)
    facts = gather_facts(
        files,
        run=snakemake.wildcards.run,
        statistics=StatisticsConfig(**snakemake.params.about["statistics"]),
        dataset=snakemake.params.about["dataset"],
    )
    write_report(files, Path(snakemake.output[0]), facts)
