# The ensemble as a MONAI bundle, and the proof that it stands on its own.


localrules:
    write_bundle,


rule write_bundle:
    """Put all that prediction needs into one folder: weights, configuration, code, model card."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        content=of_model(paths.DATASET_CONTENT),
        splits=of_model(paths.SPLITS),
        preprocessed=of_model(paths.PREPROCESSED),
        intensities=of_model(paths.INTENSITIES),
        plan=if_planned(paths.MODEL_PLAN),
        checkpoints=of_all_folds(paths.CHECKPOINTS),
        decided=if_decided(paths.POSTPROCESSING_DECIDED),
        summary=paths.METRICS_SUMMARY,
        own_code=own_code("network"),
    output:
        directory(paths.BUNDLE),
    log:
        "logs/write_bundle/{run}.log",
    params:
        model=section(
            *("description", "dataset", "images", "structures", "derived_structures"),
            *("preprocessing", "network", "inference", "metrics"),
            *("ensemble_aggregation", "postprocessing"),
        ),
        training=training_of,
        confidence=CONFIG.statistics.confidence,
        epoch=epoch_of,
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        # All of it is copied into the bundle.
        code=fingerprint("bundling", "config", "data", "learning", "prediction", "images.py"),
        software=software_of("bundle"),
    conda:
        "../envs/bundle.yaml"
    script:
        "../scripts/write_bundle.py"


rule verify_bundle:
    """Predict a subject in a clean process with nothing but the bundle: every voxel is the same."""
    input:
        bundle=paths.BUNDLE,
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        splits=of_model(paths.SPLITS),
        posteriors=of_ensemble_or_first(paths.ENSEMBLE_POSTERIORS, paths.FOLD_POSTERIORS),
        segmentations=of_ensemble_or_first(paths.ENSEMBLE_SEGMENTATIONS, paths.FOLD_SEGMENTATIONS),
    output:
        paths.BUNDLE_VERIFIED,
    log:
        "logs/verify_bundle/{run}.log",
    params:
        decided=lambda wildcards: model_of(wildcards).postprocessing.decide,
        code=fingerprint("images.py", "bundling/verification.py"),
        software=software_of("bundle"),
    threads: 1
    # As predict_fold, so that it runs where the folds were predicted.
    resources:
        gpu=gpu_of,
        mem_mb=8000,
        runtime=60,
        device=device_of,
    conda:
        "../envs/bundle.yaml"
    script:
        "../scripts/verify_bundle.py"
