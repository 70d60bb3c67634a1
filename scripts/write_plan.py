"""Write down what will be compared with what."""

from pathlib import Path

from crossfold import paths
from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.evaluation.statistics.plan import make_plan, write_plan
from crossfold.workflow import job

with job(snakemake):
    run, params = snakemake.wildcards.run, snakemake.params
    results = (paths.METRICS, paths.ENSEMBLE_METRICS)
    plan = make_plan(
        run,
        [ComparedRun(**other).name for other in params.others],
        params.structures,
        StatisticsConfig(**params.statistics),
        results_existed=any(Path(path.format(run=run)).exists() for path in results),
    )
    write_plan(snakemake.output[0], plan)
