"""Which figures and tables there are: the words around each, and the files it is drawn from.

Snakemake reads this at every start, so it imports nothing that takes time to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One figure.

    Parameters
    ----------
    module
        Module of crossfold/paper/figures that draws it.
    inputs
        Names of the files that it reads: see `figure_inputs` in rules/common.smk.
    category, title, caption
        Where it stands in a report, and the words around it.
    options
        What sets it apart from other figures of the same module.
    needs_comparison
        Whether it is drawn only for models that are compared with another run.
    needs_epochs
        Whether it is drawn only for models with `test_epochs`.
    has_intervals
        Whether it computes intervals, and so needs to know their confidence.
    """

    module: str
    inputs: tuple[str, ...]
    category: str
    title: str
    caption: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_comparison: bool = False
    needs_epochs: bool = False
    has_intervals: bool = False


TABLES = ("main", "comparisons", "structures", "failures")

SEGMENTATIONS, ACCURACY, COMPARISONS = "Segmentations", "Accuracy", "Comparisons"
CONFIDENCE, TRAINING, DATA = "Confidence", "Training", "Data"

_METRIC_WORDS = {
    "dice": ("Dice", "Overlap of prediction and reference: 1 is perfect, 0 none."),
    "nsd": (
        "NSD",
        "Share of both surfaces that lies within the tolerance of the other one: 1 is perfect.",
    ),
    "hd95_mm": (
        "HD95",
        "95th percentile of the distance between the surfaces, the larger of both directions.",
    ),
}


def _by_metric(
    module: str,
    inputs: tuple[str, ...],
    category: str,
    title: str,
    caption: str,
    metrics: tuple[str, ...],
    *,
    needs_comparison: bool = False,
) -> dict[str, Entry]:
    return {
        f"{module}_{metric}": Entry(
            module,
            inputs,
            category,
            title.format(metric=_METRIC_WORDS[metric][0]),
            f"{_METRIC_WORDS[metric][1]} {caption}",
            {"metric": metric},
            needs_comparison,
        )
        for metric in metrics
    }


FIGURES: dict[str, Entry] = {
    "montage": Entry(
        "montage",
        ("dataset", "images", "segmentations", "metrics"),
        SEGMENTATIONS,
        "Best, median and worst subject",
        "Chosen by mean Dice over the structures, ties by name. Three planes, each through the "
        "slice that takes most from that mean; pale and solid the reference, dashed the "
        "prediction.",
    ),
    "outlier_montage": Entry(
        "outlier_montage",
        ("dataset", "images", "segmentations", "metrics", "outliers"),
        SEGMENTATIONS,
        "Outliers",
        "Subjects that are listed as outliers for a hard reason, and those of the lowest rank. "
        "None is left out of any number.",
    ),
    **_by_metric(
        "metrics",
        ("compared", "comparisons"),
        ACCURACY,
        "{metric} by structure",
        "One point per subject; boxes show quartiles, crosses structures that were missed or "
        "invented. Brackets: planned comparisons, adjusted after Holm.",
        ("dice", "nsd", "hd95_mm"),
    ),
    "failures": Entry(
        "failures",
        ("compared", "failure_rates"),
        ACCURACY,
        "Failures by structure",
        "Share of subjects in which a structure was missed (in the reference, not in the "
        "prediction) or invented (the reverse), with exact binomial intervals.",
    ),
    "nsd_curve": Entry(
        "nsd_curve",
        ("nsd_curve", "metrics"),
        ACCURACY,
        "NSD by tolerance",
        "Mean over subjects with its bootstrap interval; the tolerance in use is marked.",
        has_intervals=True,
    ),
    "bland_altman": Entry(
        "bland_altman",
        ("metrics", "bland_altman"),
        ACCURACY,
        "Agreement of volumes",
        "Difference of predicted and reference volume against their mean (Bland and Altman 1999), "
        "with bias, limits of agreement and their intervals.",
    ),
    "institutions": Entry(
        "institutions",
        ("metrics",),
        ACCURACY,
        "Dice by institution",
        "One point per subject; institutions differ in whom they treat, too.",
    ),
    **_by_metric(
        "paired_differences",
        ("compared", "comparisons"),
        COMPARISONS,
        "Differences in {metric}",
        "One point per subject; the Hodges-Lehmann estimate with its interval, and the margin of "
        "non-inferiority where one was declared.",
        ("dice", "nsd", "hd95_mm"),
        needs_comparison=True,
    ),
    **_by_metric(
        "scatter",
        ("compared",),
        COMPARISONS,
        "{metric}, run against run",
        "One point per subject and structure, with the number for which either is better.",
        ("dice",),
        needs_comparison=True,
    ),
    "significance": Entry(
        "significance",
        ("comparisons",),
        COMPARISONS,
        "Verdicts of all comparisons",
        "Direction, effect size and adjusted p of each pair of runs, by structure.",
    ),
    "ranks": Entry(
        "ranks",
        ("ranks",),
        COMPARISONS,
        "Stability of the ranking",
        "How often each run takes each rank when subjects are drawn again (after Wiesenfarth et "
        "al. 2021, doi 10.1038/s41598-021-82017-6).",
    ),
    "calibration": Entry(
        "calibration",
        ("calibration_bins", "posteriors"),
        CONFIDENCE,
        "Calibration",
        "Frequency against mean confidence, per image and then over images, in a band around the "
        "structure; below it the share of voxels.",
        has_intervals=True,
    ),
    "risk_coverage": Entry(
        "risk_coverage",
        ("posteriors",),
        CONFIDENCE,
        "Uncertainty against Dice",
        "Mean entropy in the band around a structure, and the risk that is left when the most "
        "uncertain subjects are set aside.",
        has_intervals=True,
    ),
    "learning_curves": Entry(
        "learning_curves",
        ("training",),
        TRAINING,
        "Learning curves",
        "Thin lines are folds, bold ones their mean; checkpoints, learning rate and time below.",
    ),
    "intensities": Entry(
        "intensities",
        ("intensities",),
        DATA,
        "Intensities before and after normalisation",
        "One line per subject, the bold one their mean. On the right the lines should lie on each "
        "other; an image apart from the others has been scaled differently.",
    ),
    "epochs": Entry(
        "epochs",
        ("epochs",),
        TRAINING,
        "Dice by epoch",
        "Mean over subjects with its bootstrap interval at each of test_epochs and at the last "
        "epoch, which is the model. The one with the highest mean Dice out of fold is marked; none "
        "is chosen.",
        needs_epochs=True,
    ),
    "flow": Entry(
        "flow",
        ("dataset_report", "splits", "metrics"),
        DATA,
        "Flow of subjects",
        "Who was found, excluded, and used for what.",
    ),
}
