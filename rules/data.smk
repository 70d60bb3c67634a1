# From raw files to what training reads.


localrules:
    import_dataset,
    write_config,
    validate_dataset,
    split_dataset,
    plan_model,
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
        code=code_of_import,
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/import_dataset.py"


rule write_config:
    """Keep the whole configuration of a model, its bases merged in, beside its results."""
    input:
        plan=if_planned(paths.MODEL_PLAN),
    output:
        paths.CONFIG,
    log:
        "logs/write_config/{model}.log",
    params:
        # A search says nothing about the model that it belongs to.
        config=lambda wildcards: {
            name: section
            for name, section in values_of(model_of(wildcards), model_of(wildcards)).items()
            if name != "search"
        },
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


rule plan_model:
    """Decide what a model with `plan: auto` leaves open, from its training subjects."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=paths.SPLITS,
    output:
        paths.MODEL_PLAN,
    log:
        "logs/plan_model/{model}.log",
    params:
        model=section("images", "structures", "derived_structures", "budget"),
        # What is written of later steps wins there: it does not make a plan, and a training, anew.
        written=lambda wildcards: {
            **section("preprocessing", "network")(wildcards),
            "training": training_of(wildcards),
        },
        version=PLAN_VERSION,
        software=software_of("data"),
    threads: CORES
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/plan_model.py"


rule preprocess_dataset:
    """Resample and normalise every subject once, for all folds."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=paths.SPLITS,
        plan=if_planned(paths.MODEL_PLAN),
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
            "data/model_input.py",
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
