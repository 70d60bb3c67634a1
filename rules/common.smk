# Helpers of the rules: the checked configuration, and the slices of it that each rule depends on.

from crossfold import paths
from crossfold.config.loading import load_config
from crossfold.learning import STAGE_VERSION
from crossfold.workflow import (
    configuration_files,
    fingerprint,
    readable_errors,
    say_what_failed,
    say_what_was_made,
)

with readable_errors():
    CONFIG = load_config(config, configuration_files(workflow))

CORES = workflow.cores or 1


wildcard_constraints:
    dataset="|".join(CONFIG.datasets),
    model="|".join(CONFIG.models),
    run=f"({'|'.join(CONFIG.models)})(@\\d+)?",
    fold=r"\d+",


def name_of(wildcards):
    """The name of the model of a rule that has the wildcard {model} or {run}."""
    return wildcards.get("model") or wildcards.run.partition("@")[0]


def model_of(wildcards):
    """The model of a rule that has the wildcard {model} or {run}."""
    return CONFIG.model(name_of(wildcards))


def of_model(pattern):
    """An input that belongs to the model of a run, whatever the epoch it is evaluated from."""
    return lambda wildcards: pattern.format(model=name_of(wildcards), fold=wildcards.get("fold"))


def of_dataset(pattern):
    """An input that belongs to the dataset of a model."""
    return lambda wildcards: pattern.format(dataset=model_of(wildcards).dataset)


def of_folds(pattern):
    """An input for every fold of a model."""
    return lambda wildcards: [
        pattern.format(fold=fold, **wildcards) for fold in range(model_of(wildcards).splits.folds)
    ]


def of_tested_folds(pattern):
    """An input for every fold of a model that has a test set, on which alone folds may vote."""

    def files(wildcards):
        with readable_errors():
            CONFIG.require_test(name_of(wildcards))
        return of_folds(pattern)(wildcards)

    return files


def section(*names):
    """Sections of a model, as plain values: what a rule depends on, and nothing else."""
    return lambda wildcards: {
        name: model_of(wildcards).model_dump(mode="json", include={name}, by_alias=True)[name]
        for name in names
    }


def training_of(wildcards):
    """Section `training` of a model, without the device, which may differ between machines."""
    return model_of(wildcards).training.model_dump(mode="json", exclude={"device"})


def device_of(wildcards):
    """The device that a model is trained on and predicts with."""
    return model_of(wildcards).training.device


def epoch_of(wildcards):
    """The epoch of Model@epoch, or the last one."""
    with readable_errors():
        return CONFIG.epoch_of(wildcards.run)


def available_models():
    """Models whose dataset is imported, or can be imported on this machine."""
    return [name for name, model in CONFIG.models.items() if CONFIG.dataset_is_here(model.dataset)]


def targets_of(model):
    """What a user wants of a model in the end."""
    files = [paths.METRICS_SUMMARY]
    if CONFIG.model(model).splits.has_test:
        files += [paths.ENSEMBLE_METRICS, f"{paths.MONTAGE}.png"]
    return [file.format(run=model) for file in files]
