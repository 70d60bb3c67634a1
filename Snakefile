# Crossfold: from a folder of contoured images to a paper.
#
#     snakemake --cores all results/Prostate/ensemble_metrics.csv

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/learning.smk"
include: "rules/prediction.smk"
include: "rules/evaluation.smk"
include: "rules/paper.smk"


localrules:
    all,
    metrics,


rule all:
    """Metrics and figures of every model whose dataset is on this machine."""
    input:
        [target for model in available_models() for target in targets_of(model)],


rule metrics:
    """Metrics of every model whose dataset is on this machine, with confidence intervals."""
    input:
        expand(paths.METRICS_SUMMARY, run=available_models()),


onsuccess:
    say_what_was_made(workflow)


onerror:
    say_what_failed()
