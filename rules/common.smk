# Helpers of the rules: the checked configuration, and the slices of it that each rule depends on.

import re
from pathlib import Path

from crossfold import paths
from crossfold.config.learning import PLACE
from crossfold.config.loading import load_config
from crossfold.config.planning import PLANNED_SECTIONS
from crossfold.learning import STAGE_VERSION
from crossfold.paper.catalogue import FIGURES, TABLES
from crossfold.workflow import (
    configuration_files,
    fingerprint,
    fingerprint_with_imports,
    notice_edits,
    notice_published,
    readable_errors,
    say_what_failed,
    say_what_was_made,
    software_of,
    source_digest,
)

with readable_errors():
    CONFIG = load_config(config, configuration_files(workflow))

if workflow.is_main_process:
    with readable_errors():
        notice_published()
    notice_edits()

CORES = workflow.cores or workflow.resource_settings.local_cores or 1


wildcard_constraints:
    # A revision has signs that mean something in a pattern: prostate@v1.2
    dataset="|".join(map(re.escape, CONFIG.datasets)),
    model="|".join(CONFIG.models),
    run=f"({'|'.join(CONFIG.models)})(@\\d+)?",
    fold=r"\d+",
    figure="|".join(FIGURES),


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


def of_all_folds(pattern):
    """An input for every fold of the model of a run, whatever the epoch it is evaluated from."""
    return lambda wildcards: [
        pattern.format(model=name_of(wildcards), fold=fold)
        for fold in range(model_of(wildcards).splits.folds)
    ]


def of_tested_folds(pattern):
    """An input for every fold of a model that has a test set, on which alone folds may vote."""

    def files(wildcards):
        with readable_errors():
            CONFIG.require_test(name_of(wildcards))
        return of_folds(pattern)(wildcards)

    return files


def of_ensemble(pattern):
    """An input that only models with a test set have."""

    def files(wildcards):
        has_test = model_of(wildcards).splits.has_test
        return pattern.format(**wildcards) if has_test else []

    return files


def of_ensemble_or_first(ensemble, fold):
    """An input of the ensemble, or of the first fold of a model without a test set."""
    return lambda wildcards: (
        ensemble.format(**wildcards)
        if model_of(wildcards).splits.has_test
        else fold.format(fold=0, **wildcards)
    )


def if_decided(pattern):
    """An input that only models whose post-processing is decided out of fold have."""
    return lambda wildcards: (
        pattern.format(**wildcards) if model_of(wildcards).postprocessing.decide else []
    )


def section(*names):
    """Sections of a model, as plain values: what a rule depends on, and nothing else."""

    def values(wildcards):
        model = model_of(wildcards)
        everything = model.model_dump(mode="json", include={*names}, by_alias=True)
        planned = PLANNED_SECTIONS.intersection(names) if model.plan else ()
        return everything | {name: values_of(model, getattr(model, name)) for name in planned}

    return values


def training_of(wildcards):
    """Section `training` of a model, without its place, which may differ between machines."""
    model = model_of(wildcards)
    values = values_of(model, model.training)
    return {key: value for key, value in values.items() if key not in PLACE}


def init_from_of(wildcards):
    """Section `init_from` of a model with the epoch that it means, or nothing."""
    start = model_of(wildcards).init_from
    if start is None or start.model is None:
        return start and start.model_dump(mode="json")
    epoch = start.epoch or CONFIG.epoch_of(start.model)
    return start.model_dump(mode="json") | {"epoch": epoch}


def initial_weights(wildcards):
    """The weights that a fold starts from: a file, or the checkpoints of folds of another model."""
    start = model_of(wildcards).init_from
    if start is None:
        return []
    if start.model is None:
        with readable_errors():
            return [str(start.path(wildcards.model))]
    folds = range(CONFIG.model(start.model).splits.folds)
    return [
        paths.CHECKPOINTS.format(model=start.model, fold=fold)
        for fold in (folds if start.folds == "average" else [wildcards.fold])
    ]


def diagnostics_of(key):
    """A key of section `diagnostics` of a model."""
    return lambda wildcards: getattr(model_of(wildcards).diagnostics, key)


def epoch_of(wildcards):
    """The epoch of Model@epoch, or the last one."""
    with readable_errors():
        return CONFIG.epoch_of(wildcards.run)


def statistics_of(*names):
    """Keys of section `statistics`, or all but what belongs to single models."""
    everything = CONFIG.statistics.model_dump(mode="json", exclude={"compare"})
    return {name: everything[name] for name in names or everything}


def source_of(wildcards):
    """What identifies the raw files of a dataset."""
    with readable_errors():
        return source_digest(wildcards.dataset, CONFIG.datasets[wildcards.dataset])


def compared_with(wildcards):
    """What a run is compared with, as plain values."""
    return [run.model_dump(mode="json") for run in CONFIG.compared_with(wildcards.run)]


def compared_tables(kind, of_model=None):
    """Tables of one kind of the runs that a run is compared with: of models here, and by path."""

    def files(wildcards):
        with readable_errors():
            runs = CONFIG.compared_with(wildcards.run)
            here = [
                of_model.format(run=other.model, model=other.base_model)
                for other in runs
                if other.model and of_model
            ]
            return here + [str(path) for other in runs if (path := other.path_of(kind))]

    return files


def measured_structures(wildcards):
    """Structures and derived structures of a model, in the order of their labels."""
    model = model_of(wildcards)
    return [*model.structures, *model.derived_structures]


def all_segmentations(wildcards):
    """The ensemble's segmentations of the test subjects, and those of the folds."""
    ensemble = of_ensemble(paths.ENSEMBLE_SEGMENTATIONS)(wildcards)
    folds = of_folds(paths.FOLD_SEGMENTATIONS)(wildcards)
    return [ensemble, *folds] if ensemble else folds


def manifest_of(wildcards):
    """What was published of a model, if anything was; never an earlier epoch of it."""
    manifest = paths.MANIFEST.format(model=wildcards.run)
    return manifest if Path(manifest).is_file() else []


def available_models():
    """Models whose dataset is imported, or can be imported on this machine."""
    return [name for name, model in CONFIG.models.items() if CONFIG.dataset_is_here(model.dataset)]


def results_of(model):
    """What a user wants of a model in the end."""
    files = [paths.METRICS_SUMMARY, paths.REPORT]
    if CONFIG.model(model).splits.has_test:
        files.append(paths.ENSEMBLE_METRICS)
    return [file.format(run=model) for file in files]


include: "common_code.smk"
include: "common_devices.smk"
include: "common_planning.smk"
