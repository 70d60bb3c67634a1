# Metrics on the source grid, and their summaries.

MEASURED = ("structures", "derived_structures", "metrics", "dataset")
READING_CODE = fingerprint("images.py", "data/dataset.py")


localrules:
    measure_fold,
    measure_ensemble,
    pool_metrics,
    summarise_metrics,
    collect_epochs,
    find_postprocessing,
    measure_posteriors,


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
        reading=READING_CODE,
        code=fingerprint_with_imports("evaluation/measure.py"),
        software=software_of("data"),
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
        # Not read: the one has to lie beside the results that it gave, the other to come first.
        config=of_model(paths.CONFIG),
        plan=paths.PLAN,
    output:
        paths.ENSEMBLE_METRICS,
    log:
        "logs/measure_ensemble/{run}.log",
    params:
        model=section(*MEASURED),
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        seed=lambda wildcards: model_of(wildcards).training.seed,
        reading=READING_CODE,
        code=fingerprint_with_imports("evaluation/measure.py"),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/measure_ensemble.py"


rule pool_metrics:
    """Put the metrics of all folds, and of the ensemble, into one table."""
    input:
        folds=of_folds(paths.FOLD_METRICS),
        ensemble=of_ensemble(paths.ENSEMBLE_METRICS),
        # Not read: it has to come first.
        plan=paths.PLAN,
    output:
        paths.METRICS,
    log:
        "logs/pool_metrics/{run}.log",
    params:
        code=fingerprint("evaluation/tables.py"),
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/pool_metrics.py"


rule summarise_metrics:
    """Summarise metrics with confidence intervals."""
    input:
        paths.METRICS,
    output:
        csv=paths.METRICS_SUMMARY,
        json=paths.METRICS_JSON,
    log:
        "logs/summarise_metrics/{run}.log",
    params:
        statistics=statistics_of("confidence", "resamples", "seed"),
        code=fingerprint_with_imports("evaluation/summary.py"),
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/summarise_metrics.py"


rule collect_epochs:
    """Put the summaries of the epochs that are tested into one table."""
    input:
        lambda wildcards: expand(
            paths.METRICS_SUMMARY, run=CONFIG.tested_runs(wildcards.model).values()
        ),
    output:
        paths.EPOCHS,
    log:
        "logs/collect_epochs/{model}.log",
    params:
        epochs=lambda wildcards: [*CONFIG.tested_runs(wildcards.model)],
        structures=lambda wildcards: model_of(wildcards).structures,
        code=fingerprint_with_imports("evaluation/epochs.py"),
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/collect_epochs.py"


rule find_postprocessing:
    """Decide on the results out of fold which steps of post-processing help."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=of_model(paths.SPLITS),
        posteriors=of_folds(paths.FOLD_POSTERIORS),
    output:
        table=paths.POSTPROCESSING,
        decided=paths.POSTPROCESSING_DECIDED,
    log:
        "logs/find_postprocessing/{run}.log",
    params:
        model=section(*MEASURED, "postprocessing"),
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        seed=lambda wildcards: model_of(wildcards).training.seed,
        statistics=statistics_of("confidence", "resamples", "seed"),
        reading=READING_CODE,
        steps=fingerprint("prediction/postprocessing.py"),
        code=fingerprint_with_imports("evaluation/postprocessing.py"),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/find_postprocessing.py"


rule measure_posteriors:
    """Measure what a contour alone does not show: confidence, tolerance, strays, swaps."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=of_model(paths.SPLITS),
        fold_posteriors=of_folds(paths.FOLD_POSTERIORS),
        fold_segmentations=of_folds(paths.FOLD_SEGMENTATIONS),
        ensemble_posteriors=of_ensemble(paths.ENSEMBLE_POSTERIORS),
        ensemble_segmentations=of_ensemble(paths.ENSEMBLE_SEGMENTATIONS),
    output:
        nsd_curve=paths.NSD_CURVE,
        calibration_bins=paths.CALIBRATION_BINS,
        posteriors=paths.POSTERIOR_METRICS,
        inspection=paths.INSPECTION,
    log:
        "logs/measure_posteriors/{run}.log",
    params:
        model=section("structures", "derived_structures", "metrics"),
        mirror_pairs=lambda wildcards: model_of(wildcards).training.mirror_pairs,
        reading=READING_CODE,
        code=fingerprint_with_imports("evaluation/posteriors.py"),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/measure_posteriors.py"
