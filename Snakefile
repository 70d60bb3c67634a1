# Crossfold: from a folder of contoured images to a paper.
#     snakemake --cores all results/Prostate/ensemble_metrics.csv

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/learning.smk"
include: "rules/prediction.smk"
include: "rules/evaluation.smk"
include: "rules/statistics.smk"
include: "rules/paper.smk"
include: "rules/publishing.smk"


localrules:
    all,
    metrics,
    figures,
    reports,


rule all:
    """Metrics, statistics, figures and the report of every model whose dataset is here."""
    input:
        [target for model in available_models() for target in targets_of(model)],


rule metrics:
    """Metrics of every model whose dataset is on this machine, with confidence intervals."""
    input:
        expand(paths.METRICS_SUMMARY, run=available_models()),


rule figures:
    """All figures of every model whose dataset is on this machine."""
    input:
        [figure for model in available_models() for figure in figures_of(model)],
        expand(paths.PATCH_SAMPLING, model=available_models()),


rule reports:
    """The report of every model whose dataset is on this machine."""
    input:
        expand(paths.REPORT, run=available_models()),


onsuccess:
    say_what_was_made(workflow)


onerror:
    say_what_failed()
