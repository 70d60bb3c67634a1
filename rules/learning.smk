# Training: one job per fold, one thread each, or one per device where several share a fold. Folds
# side by side are faster than threads in a fold.


rule train_fold:
    """Train one fold; a job that was killed continues from its last whole epoch."""
    input:
        preprocessed=paths.PREPROCESSED,
        splits=paths.SPLITS,
        plan=if_planned(paths.MODEL_PLAN),
        initial=initial_weights,
        own_code=own_code("network", "training"),
    output:
        checkpoints=directory(paths.CHECKPOINTS),
        training=paths.TRAINING,
        machine=paths.MACHINE,
        tensorboard=directory(paths.TENSORBOARD),
        example_images=directory(paths.EXAMPLE_IMAGES),
    log:
        "logs/train_fold/{model}_{fold}.log",
    benchmark:
        "logs/train_fold/{model}_{fold}.benchmark.tsv"
    params:
        model=section("images", "structures", "network"),
        training=training_of,
        init_from=init_from_of,
        version=STAGE_VERSION,
        software=software_of("torch"),
    threads: devices_of
    # Training is what everything waits for.
    priority: 10
    resources:
        gpu=gpus_of,
        mem_mb=8000,
        runtime=1440,
        # Resources, because a fold is not trained again elsewhere when they change.
        state_dir=CONFIG.state_dir,
        device=device_of,
        devices=lambda wildcards: model_of(wildcards).training.devices,
        example_images_every=diagnostics_of("example_images_every"),
        resources_every_s=diagnostics_of("resources_every_s"),
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/train_fold.py"


include: "search.smk"
