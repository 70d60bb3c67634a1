"""Compare a run with others, its folds with one another, and institutions within it."""

from pathlib import Path

from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.evaluation.statistics.compare import compare_model
from crossfold.evaluation.statistics.files import tables_of, write_statistics
from crossfold.workflow import job

with job(snakemake):
    run, given = snakemake.wildcards.run, snakemake.input
    config = StatisticsConfig(**snakemake.params.statistics)
    others = [ComparedRun(**other) for other in snakemake.params.others]
    tables = compare_model(
        run,
        Path(given.metrics),
        Path(given.splits),
        [(other, *tables_of(other)) for other in others],
        structures=snakemake.params.structures,
        plan=given.plan,
        config=config,
    )
    write_statistics(tables, snakemake.output, label=run, config=config)
