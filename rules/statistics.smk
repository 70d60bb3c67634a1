# What is compared with what, how, and which results a person should look at.


localrules:
    write_plan,
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
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/write_plan.py"


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
        software=software_of("data"),
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
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/find_outliers.py"
