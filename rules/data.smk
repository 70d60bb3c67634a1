# From raw files to what training reads.


localrules:
    import_dataset,
    write_config,
    validate_dataset,
    split_dataset,
    preprocess_dataset,
    inspect_annotations,


rule import_dataset:
    """Bring a dataset into the working format: dataset.csv and the images beside it."""
    output:
        csv=paths.DATASET,
        images=directory(paths.DATASET_IMAGES),
        source=paths.DATASET_SOURCE,
    log:
        "logs/import_dataset/{dataset}.log",
    params:
        config=lambda wildcards: CONFIG.datasets[wildcards.dataset].model_dump(
            mode="json", exclude={"description", "licence"}
        ),
        source=source_of,
        code=fingerprint("images.py", "data/importers", "data/phantom"),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/import_dataset.py"


rule write_config:
    """Keep the whole configuration of a model, its bases merged in, beside its results."""
    output:
        paths.CONFIG,
    log:
        "logs/write_config/{model}.log",
    params:
        config=lambda wildcards: model_of(wildcards).model_dump(mode="json", by_alias=True),
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/write_config.py"


rule validate_dataset:
    """Check every file of a dataset and report all problems at once."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
    output:
        csv=paths.DATASET_REPORT_CSV,
        html=paths.DATASET_REPORT_HTML,
        content=paths.DATASET_CONTENT,
    log:
        "logs/validate_dataset/{model}.log",
    params:
        model=section("images", "structures", "checks"),
        mask=lambda wildcards: model_of(wildcards).preprocessing.mask,
        dataset=lambda wildcards: model_of(wildcards).dataset,
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        code=fingerprint(
            "images.py",
            "data/dataset.py",
            "data/validation.py",
            "data/subject_checks.py",
            "data/dataset_report.py",
            "data/content.py",
        ),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/validate_dataset.py"


rule split_dataset:
    """Divide the usable subjects into test set and folds."""
    input:
        csv=of_dataset(paths.DATASET),
        report=paths.DATASET_REPORT_CSV,
        own_code=own_code("splits"),
    output:
        paths.SPLITS,
    log:
        "logs/split_dataset/{model}.log",
    params:
        model=section("splits"),
        code=fingerprint("data/splits.py", "data/split_function.py"),
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/split_dataset.py"


rule preprocess_dataset:
    """Resample and normalise every subject once, for all folds."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=paths.SPLITS,
    output:
        preprocessed=directory(paths.PREPROCESSED),
        intensities=paths.INTENSITIES,
    log:
        "logs/preprocess_dataset/{model}.log",
    params:
        model=section("images", "structures", "preprocessing"),
        code=fingerprint(
            "images.py",
            "data/dataset.py",
            "data/normalisation.py",
            "data/preprocessing.py",
            "data/resampling.py",
        ),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/preprocess_dataset.py"


rule inspect_annotations:
    """List extent, gaps and overlaps of the contours of every subject."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
    output:
        **{
            f"{name}{view}": paths.ANNOTATIONS.replace("{view}", f"{name}{suffix}")
            for name in ("extremes", "overlap")
            for view, suffix in (("", ".csv"), ("_text", ".txt"), ("_problems", "_problems.txt"))
        },
    log:
        "logs/inspect_annotations/{model}.log",
    params:
        structures=lambda wildcards: model_of(wildcards).structures,
        code=fingerprint_with_imports("data/annotation_quality.py"),
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/inspect_annotations.py"
