# Helpers of rules/paper.smk: what figures, tables and the report are made from.

from crossfold.config.labels import label_values

FIGURE_INPUTS = {
    "dataset": of_dataset(paths.DATASET),
    "images": of_dataset(paths.DATASET_IMAGES),
    "dataset_report": of_model(paths.DATASET_REPORT_CSV),
    "splits": of_model(paths.SPLITS),
    "intensities": of_model(paths.INTENSITIES),
    "training": of_all_folds(paths.TRAINING),
    "epochs": of_model(paths.EPOCHS),
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
    "content": of_model(paths.DATASET_CONTENT),
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
    """The figures of a run; some need another run to compare with, or several epochs."""
    compared = bool(CONFIG.compared_with(run))
    epochs = run in CONFIG.models and bool(CONFIG.model(run).test_epochs)
    names = [
        name
        for name, entry in FIGURES.items()
        if (compared or not entry.needs_comparison) and (epochs or not entry.needs_epochs)
    ]
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
