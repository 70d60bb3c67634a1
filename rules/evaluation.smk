# Metrics on the source grid, and their summaries.

MEASURED = ("structures", "derived_structures", "metrics", "dataset")
MEASURING_CODE = fingerprint("images.py", "data/dataset.py", "evaluation")


localrules:
    measure_fold,
    measure_ensemble,
    pool_metrics,
    summarise_metrics,


rule measure_fold:
    """Measure the validation and test segmentations of one fold."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=of_model(paths.SPLITS),
        segmentations=paths.FOLD_SEGMENTATIONS,
    output:
        paths.FOLD_METRICS,
    log:
        "logs/measure_fold/{run}_{fold}.log",
    params:
        model=section(*MEASURED),
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        seed=lambda wildcards: model_of(wildcards).training.seed + int(wildcards.fold),
        code=MEASURING_CODE,
    threads: 1
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/measure_fold.py"


rule measure_ensemble:
    """Measure the ensemble on the test subjects."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=of_model(paths.SPLITS),
        segmentations=paths.ENSEMBLE_SEGMENTATIONS,
        # Not read: it has to lie beside the results that it gave.
        config=of_model(paths.CONFIG),
    output:
        paths.ENSEMBLE_METRICS,
    log:
        "logs/measure_ensemble/{run}.log",
    params:
        model=section(*MEASURED),
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        seed=lambda wildcards: model_of(wildcards).training.seed,
        code=MEASURING_CODE,
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/measure_ensemble.py"


rule pool_metrics:
    """Put the metrics of all folds, and of the ensemble, into one table."""
    input:
        folds=of_folds(paths.FOLD_METRICS),
        ensemble=lambda wildcards: (
            paths.ENSEMBLE_METRICS.format(**wildcards)
            if model_of(wildcards).splits.has_test
            else []
        ),
    output:
        paths.METRICS,
    log:
        "logs/pool_metrics/{run}.log",
    params:
        code=fingerprint("evaluation/tables.py"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/pool_metrics.py"


rule summarise_metrics:
    """Summarise metrics with confidence intervals."""
    input:
        paths.METRICS,
    output:
        paths.METRICS_SUMMARY,
    log:
        "logs/summarise_metrics/{run}.log",
    params:
        statistics=CONFIG.statistics.model_dump(mode="json"),
        code=fingerprint("evaluation"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/summarise_metrics.py"
