# The search of hyperparameters: rounds of trials, one job per trial and fold.
#
# A static graph: trial n belongs to round n // search.parallel, and a round learns from the rounds
# before it through files, so that the same search comes out on any machine, however jobs are sent.


include: "common_search.smk"


wildcard_constraints:
    round=r"\d+",
    trial=r"\d+",


localrules:
    propose_round,
    collect_round,
    write_search,


rule propose_round:
    """Decide what the trials of a round try."""
    input:
        trials=after_round(paths.SEARCH_TRIALS, lambda search: search.method == "tpe"),
        plan=if_planned(paths.MODEL_PLAN),
    output:
        paths.SEARCH_PROPOSALS,
    log:
        "logs/propose_round/{model}_{round}.log",
    params:
        model=searched_model,
        search=search_params("parameters", "method", "parallel", "baseline", "epochs", "seed"),
        config=fingerprint("config/search.py", "config/trials.py"),
        code=fingerprint("search/proposals.py"),
        software=software_of("search"),
    conda:
        "../envs/search.yaml"
    script:
        "../scripts/propose_round.py"


rule train_trial:
    """Train a fold of a trial and measure it; a job that was killed continues."""
    input:
        csv=of_dataset(paths.DATASET),
        images=of_dataset(paths.DATASET_IMAGES),
        preprocessed=paths.PREPROCESSED,
        splits=paths.SPLITS,
        plan=if_planned(paths.MODEL_PLAN),
        initial=initial_weights,
        proposals=proposals_of_trial,
        curves=after_round(paths.SEARCH_CURVES, lambda search: search.prune),
        own_code=own_code_of_trials,
    output:
        directory(paths.SEARCH_TRIAL),
    log:
        "logs/train_trial/{model}_{trial}_{fold}.log",
    benchmark:
        "logs/train_trial/{model}_{trial}_{fold}.benchmark.tsv"
    params:
        model=searched_model,
        search=search_params("epochs", "prune"),
        init_from=init_from_of,
        own_code=own_code_by_target,
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        version=STAGE_VERSION,
        code=fingerprint("search/feasible.py", "search/stopping.py", "search/trial.py"),
        reading=fingerprint("images.py", "data/dataset.py", "learning/networks"),
        prediction=fingerprint_with_imports("prediction/fold.py"),
        measuring=fingerprint_with_imports("evaluation/measure.py"),
        software=software_of("torch"),
    threads: 1
    resources:
        gpu=gpu_of,
        mem_mb=8000,
        runtime=1440,
        # Resources, because a trial is not trained again elsewhere when they change.
        state_dir=CONFIG.state_dir,
        device=device_of,
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/train_trial.py"


rule collect_round:
    """Add what came of the trials of a round to what is known of earlier ones."""
    input:
        proposals=paths.SEARCH_PROPOSALS,
        splits=paths.SPLITS,
        folders=folds_of_trials,
        as_it_is=folds_of_model_as_it_is,
        trials=after_round(paths.SEARCH_TRIALS, lambda search: True),
        curves=after_round(paths.SEARCH_CURVES, lambda search: True),
    output:
        trials=paths.SEARCH_TRIALS,
        curves=paths.SEARCH_CURVES,
    log:
        "logs/collect_round/{model}_{round}.log",
    params:
        structures=lambda wildcards: model_of(wildcards).structures,
        search=search_params("folds", "metric"),
        code=fingerprint("search/rounds.py", "search/stopping.py", "search/table.py"),
        software=software_of("data"),
    conda:
        "../envs/data.yaml"
    script:
        "../scripts/collect_round.py"


rule write_search:
    """Write the table of all trials, a page about them, and the best of them as a configuration."""
    input:
        trials=last_round(paths.SEARCH_TRIALS),
        curves=last_round(paths.SEARCH_CURVES),
        plan=if_planned(paths.MODEL_PLAN),
    output:
        csv=paths.SEARCH,
        page=paths.SEARCH_PAGE,
        best=paths.SEARCH_BEST,
    log:
        "logs/write_search/{model}.log",
    params:
        model=lambda wildcards: written_keys(model_of(wildcards)),
        synthetic=lambda wildcards: CONFIG.datasets[model_of(wildcards).dataset].synthetic,
        config=fingerprint("config/trials.py"),
        table=fingerprint("search/best.py", "search/table.py", "search/tuned.py"),
        code=fingerprint_with_imports("paper/search/page.py"),
        software=software_of("paper"),
    conda:
        "../envs/paper.yaml"
    script:
        "../scripts/write_search.py"
