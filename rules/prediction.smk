# Posteriors and segmentations on the grids of the source images.


localrules:
    ensemble_folds,


rule predict_fold:
    """Predict the validation and test subjects of one fold."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        preprocessed=of_model(paths.PREPROCESSED),
        splits=of_model(paths.SPLITS),
        checkpoints=of_model(paths.CHECKPOINTS),
        plan=if_planned(paths.MODEL_PLAN),
        own_code=own_code("network"),
    output:
        posteriors=directory(paths.FOLD_POSTERIORS),
        segmentations=directory(paths.FOLD_SEGMENTATIONS),
    log:
        "logs/predict_fold/{run}_{fold}.log",
    params:
        model=section("structures", "derived_structures", "inference"),
        postprocessing=steps_of_folds,
        precision=lambda wildcards: model_of(wildcards).training.precision,
        mirror_pairs=lambda wildcards: model_of(wildcards).training.mirror_pairs,
        epoch=epoch_of,
        code=fingerprint(
            "images.py",
            "prediction/fold.py",
            "prediction/member.py",
            "prediction/sliding_window.py",
            "prediction/source_grid.py",
            "prediction/postprocessing.py",
            "learning/networks",
        ),
        software=software_of("torch"),
    threads: 1
    resources:
        gpu=gpu_of,
        mem_mb=8000,
        runtime=240,
        device=device_of,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/predict_fold.py"


rule ensemble_folds:
    """Combine the posteriors of the folds for the test subjects."""
    input:
        splits=of_model(paths.SPLITS),
        folds=of_tested_folds(paths.FOLD_POSTERIORS),
        decided=if_decided(paths.POSTPROCESSING_DECIDED),
        plan=if_planned(paths.MODEL_PLAN),
    output:
        posteriors=directory(paths.ENSEMBLE_POSTERIORS),
        segmentations=directory(paths.ENSEMBLE_SEGMENTATIONS),
        uncertainty=directory(paths.ENSEMBLE_UNCERTAINTY),
        disagreement=directory(paths.ENSEMBLE_DISAGREEMENT),
    log:
        "logs/ensemble_folds/{run}.log",
    params:
        model=section("structures", "derived_structures", "ensemble_aggregation", "postprocessing"),
        reading=fingerprint("images.py"),
        code=fingerprint_with_imports("prediction/ensemble.py"),
        software=software_of("torch"),
    threads: CORES
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/ensemble_folds.py"


include: "bundle.smk"
