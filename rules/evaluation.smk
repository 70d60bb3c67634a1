# Metrics on the source grid, and their summaries.

MEASURED = ("structures", "derived_structures", "metrics", "dataset")
READING_CODE = fingerprint("images.py", "data/dataset.py")


localrules:
    write_plan,
    measure_fold,
    measure_ensemble,
    pool_metrics,
    summarise_metrics,
    measure_posteriors,
    compare_runs,
    find_outliers,


rule write_plan:
    """Write down what will be compared with what, before there is a result to look at."""
    output:
        paths.PLAN,
    log:
        "logs/write_plan/{run}.log",
    params:
        statistics=statistics_of(),
        others=compared_with,
        structures=measured_structures,
        code=fingerprint_with_imports("evaluation/statistics/plan.py"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/write_plan.py"


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
        statistics=statistics_of("confidence", "resamples", "seed"),
        code=fingerprint_with_imports("evaluation/summary.py"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/summarise_metrics.py"


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
        mirror_pairs=lambda wildcards: model_of(wildcards).training.augmentation.mirror_pairs,
        reading=READING_CODE,
        code=fingerprint_with_imports("evaluation/posteriors.py"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/measure_posteriors.py"


rule compare_runs:
    """Compare a run with others, its folds with one another, and institutions within it."""
    input:
        plan=paths.PLAN,
        metrics=paths.METRICS,
        splits=of_model(paths.SPLITS),
        other_metrics=compared_tables("metrics", paths.METRICS),
        other_splits=compared_tables("splits", paths.SPLITS),
        other_datasets=compared_tables("dataset"),
    output:
        **{
            name: paths.STATISTIC.replace("{table}", f"{name}.csv")
            for name in paths.STATISTICS_TABLES
        },
        runs=paths.COMPARED_RUNS,
        compared=paths.COMPARED_METRICS,
        wilcoxon_text=paths.STATISTIC.replace("{table}", "wilcoxon.txt"),
        mann_whitney_text=paths.STATISTIC.replace("{table}", "mann_whitney.txt"),
    log:
        "logs/compare_runs/{run}.log",
    params:
        statistics=statistics_of(),
        others=compared_with,
        structures=measured_structures,
        code=fingerprint_with_imports("evaluation/statistics/compare.py"),
        writing=fingerprint_with_imports("evaluation/statistics/files.py"),
    threads: 1
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/compare_runs.py"


rule find_outliers:
    """List every result that a person should look at, and why."""
    input:
        metrics=paths.METRICS,
        inspection=paths.INSPECTION,
        compared=paths.COMPARED_METRICS,
    output:
        outliers=paths.OUTLIERS,
        by_reason=paths.OUTLIERS_BY_REASON,
        val=paths.OUTLIERS_TEXT.replace("{split}", "val"),
        test=paths.OUTLIERS_TEXT.replace("{split}", "test"),
    log:
        "logs/find_outliers/{run}.log",
    params:
        model=section("outliers"),
        code=fingerprint_with_imports("evaluation/outliers/find.py"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/find_outliers.py"
