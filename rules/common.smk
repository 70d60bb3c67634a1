# Helpers of the rules: the checked configuration, and the slices of it that each rule depends on.

from crossfold import paths
from crossfold.config.labels import label_values
from crossfold.config.loading import load_config
from crossfold.learning import STAGE_VERSION
from crossfold.paper.catalogue import FIGURES, TABLES
from crossfold.workflow import (
    configuration_files,
    fingerprint,
    fingerprint_with_imports,
    readable_errors,
    say_what_failed,
    say_what_was_made,
)

with readable_errors():
    CONFIG = load_config(config, configuration_files(workflow))

CORES = workflow.cores or workflow.resource_settings.local_cores or 1


wildcard_constraints:
    dataset="|".join(CONFIG.datasets),
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


def statistics_of(*names):
    """Keys of section `statistics`, or all but what belongs to single models."""
    everything = CONFIG.statistics.model_dump(mode="json", exclude={"compare"})
    return {name: everything[name] for name in names or everything}


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


FIGURE_INPUTS = {
    "dataset": of_dataset(paths.DATASET),
    "images": of_dataset(paths.DATASET_IMAGES),
    "dataset_report": of_model(paths.DATASET_REPORT_CSV),
    "splits": of_model(paths.SPLITS),
    "training": of_all_folds(paths.TRAINING),
    "segmentations": all_segmentations,
    "metrics": paths.METRICS,
    "nsd_curve": paths.NSD_CURVE,
    "calibration_bins": paths.CALIBRATION_BINS,
    "posteriors": paths.POSTERIOR_METRICS,
    "outliers": paths.OUTLIERS,
    "compared": paths.COMPARED_METRICS,
    **{
        name: paths.STATISTIC.replace("{table}", f"{name}.csv")
        for name in ("comparisons", "ranks", "failure_rates", "bland_altman")
    },
}


STATEMENT_INPUTS = {
    "config": of_model(paths.CONFIG),
    "dataset": of_dataset(paths.DATASET),
    "machines": of_all_folds(paths.MACHINE),
    "summary": paths.METRICS_SUMMARY,
    "plan": paths.PLAN,
    "by_reason": paths.OUTLIERS_BY_REASON,
    **{
        name: FIGURE_INPUTS[name]
        for name in ("dataset_report", "splits", "training", "metrics", "outliers", "compared")
    },
    **{
        name: paths.STATISTIC.replace("{table}", f"{name}.csv")
        for name in ("comparisons", "sensitivity", "failure_rates", "bland_altman")
    },
}


def figure_inputs(wildcards):
    """The files that a figure is drawn from, by name."""
    files = {name: FIGURE_INPUTS[name] for name in FIGURES[wildcards.figure].inputs}
    return {
        name: file(wildcards) if callable(file) else file.format(**wildcards)
        for name, file in files.items()
    }


def figures_of(run):
    """The figures of a run; some need another run to compare with."""
    compared = bool(CONFIG.compared_with(run))
    names = [name for name, entry in FIGURES.items() if compared or not entry.needs_comparison]
    return expand(f"{paths.FIGURE}.png", run=run, figure=names)


def figure_context(wildcards):
    """What a figure is drawn with, besides its files: what `Context` of the figures holds."""
    run = wildcards.run
    runs = [run, *(other.name for other in CONFIG.compared_with(run))]
    colours = CONFIG.colours()
    colours[run] = colours[name_of(wildcards)]
    model = model_of(wildcards)
    return {
        "run": run,
        "structures": measured_structures(wildcards),
        "split": CONFIG.statistics.primary_split,
        "runs": runs,
        "colours": {name: colours[name] for name in runs},
        "synthetic": CONFIG.datasets[model.dataset].synthetic,
    }


def figure_options(wildcards):
    """What sets a figure apart: its metric, or what is shown of the images."""
    entry = FIGURES[wildcards.figure]
    if entry.has_intervals:
        return {**entry.options, "statistics": statistics_of("confidence", "resamples", "seed")}
    if "images" not in entry.inputs:
        return dict(entry.options)
    model = model_of(wildcards)
    labels = label_values(model.structures, model.derived_structures)
    return {**entry.options, "image": model.images[0], "labels": labels}


def statement_params(wildcards):
    """What tables, checklists and the report say besides what is in their files."""
    dataset = CONFIG.datasets[model_of(wildcards).dataset]
    return {"statistics": statistics_of(), "dataset": dataset.model_dump(mode="json")}


def available_models():
    """Models whose dataset is imported, or can be imported on this machine."""
    return [name for name, model in CONFIG.models.items() if CONFIG.dataset_is_here(model.dataset)]


def targets_of(model):
    """What a user wants of a model in the end."""
    files = [paths.METRICS_SUMMARY, paths.REPORT]
    if CONFIG.model(model).splits.has_test:
        files.append(paths.ENSEMBLE_METRICS)
    return [file.format(run=model) for file in files]
