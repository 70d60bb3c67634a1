# Training: one job per fold, one thread each. Folds side by side are faster than threads in a fold.


rule train_fold:
    """Train one fold; a job that was killed continues from its last whole epoch."""
    input:
        preprocessed=paths.PREPROCESSED,
        splits=paths.SPLITS,
    output:
        checkpoints=directory(paths.CHECKPOINTS),
        training=paths.TRAINING,
        machine=paths.MACHINE,
    log:
        "logs/train_fold/{model}_{fold}.log",
    benchmark:
        "logs/train_fold/{model}_{fold}.benchmark.tsv"
    params:
        model=section("images", "structures", "network"),
        training=training_of,
        version=STAGE_VERSION,
    threads: 1
    # Training is what everything waits for.
    priority: 10
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=1440,
        # Resources, because a fold is not trained again elsewhere when they change.
        state_dir=CONFIG.state_dir,
        device=device_of,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/train_fold.py"
