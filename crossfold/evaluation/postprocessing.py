"""Which steps of post-processing help, decided on the results out of fold, and by how much.

As nnU-Net's `nnUNetv2_determine_postprocessing` does with its components, but for every step of the
configuration, with an interval, and with a test set that has no part in it. Each step is measured
alone against the likeliest structures, all that help are measured together at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.prediction import (
    PostprocessingConfig,
    SliceExclusion,
    SummedProbability,
)
from crossfold.config.statistics import StatisticsConfig
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError
from crossfold.evaluation.measure import Measurement
from crossfold.evaluation.metrics import measure_label_maps
from crossfold.evaluation.statistics.bootstrap import bootstrap_intervals
from crossfold.images import POSTERIOR_SCALE, Image, read_posterior
from crossfold.parallel import map_subjects
from crossfold.prediction.postprocessing import segment

TOGETHER = "all that help"
COLUMNS = [
    *("model", "dataset", "synthetic", "step", "structure", "n", "n_changed"),
    *("dice_without", "dice_with", "dice_difference", "ci_low", "ci_high"),
    *("failures_without", "failures_with", "hd95_mm_without", "hd95_mm_with"),
    *("verdict", "adopted"),
]
FEWEST_FOR_INTERVAL = 10

_KEYS = ["subject", "structure"]


@dataclass(frozen=True)
class Step:
    """One step, alone.

    Parameters
    ----------
    name
        Of the step in tables, such as `largest_component bladder`.
    config
        Section `postprocessing` that holds this step only.
    structures
        Names that it is about.
    """

    name: str
    config: PostprocessingConfig
    structures: tuple[str, ...]


def candidate_steps(config: PostprocessingConfig, names: tuple[str, ...]) -> list[Step]:
    """Return the steps of a configuration, and those that are tried for every structure.

    Parameters
    ----------
    config
        Section of the model.
    names
        Structures and derived structures.
    """
    thresholds = dict.fromkeys(names) | dict(config.components())
    components = [
        (name if threshold is None else (name, threshold), name)
        for name, threshold in thresholds.items()
    ]
    summed, slices = config.summed_probability, config.slice_exclusion
    found: list[tuple[str, Any, str, tuple[str, ...]]] = [
        *(
            [("smoothing_mm", config.smoothing_mm, "", names)]
            if np.any(config.smoothing_mm)
            else []
        ),
        *(
            ("summed_probability", (rule,), _words(rule), (rule.first, rule.second))
            for rule in summed
        ),
        *(("largest_component", (entry,), name, (name,)) for entry, name in components),
        *(("slice_exclusion", (rule,), _words(rule), (rule.higher, rule.lower)) for rule in slices),
        *(("fill_holes", (name,), name, (name,)) for name in names),
    ]
    return [
        Step(f"{key} {words}".rstrip(), PostprocessingConfig(**{key: value}), about)
        for key, value, words, about in found
    ]


def _words(rule: SummedProbability | SliceExclusion) -> str:
    return " ".join(rule.model_dump().values())


def find_postprocessing(
    dataset: Dataset,
    posteriors: Mapping[str, Path],
    config: PostprocessingConfig,
    measurement: Measurement,
    statistics: StatisticsConfig,
    *,
    workers: int = 1,
) -> tuple[pd.DataFrame, PostprocessingConfig]:
    """Measure every step on the subjects out of fold, and decide.

    A step is adopted if it helps at least one structure and hurts none; docs/metrics.md defines the
    verdicts. Where all adopted steps together do not pass the same rule, the one that raises the
    Dice most is adopted alone.

    Parameters
    ----------
    dataset
        Where the contours are.
    posteriors
        File of each subject, by the one fold that was not trained on it.
    config
        Section of the model: its steps are candidates.
    measurement
        What is measured, and the columns model, dataset and synthetic.
    statistics
        Confidence, resamples and seed of the intervals.
    workers
        Number of processes.

    Returns
    -------
    table, decided
        The columns `COLUMNS`, a row per step and structure that it names or changes; and the steps
        that are adopted.
    """
    steps = candidate_steps(config, tuple(measurement.labels))
    measure = partial(
        _measure_subject, dataset=dataset, posteriors=posteriors, measurement=measurement
    )
    table = _compare(_measured(measure, posteriors, steps, workers), steps, statistics)
    helpful = [step for step in steps if _passes(table, step)]
    if len(helpful) > 1:
        together = Step(TOGETHER, _merged(helpful), ())
        rows = _measured(measure, posteriors, [together], workers)
        table = pd.concat([table, _compare(rows, [together], statistics)], ignore_index=True)
        if not _passes(table, together):
            gains = table.groupby("step")["dice_difference"].sum()
            helpful = [max(helpful, key=lambda step: float(gains[step.name]))]
    adopted = [step.name for step in helpful]
    table = table.assign(
        adopted=table["step"].isin([*adopted, TOGETHER] if len(adopted) > 1 else adopted),
        **{key: measurement.constants[key] for key in ("model", "dataset", "synthetic")},
    )
    return table[COLUMNS], _merged(helpful)


def _merged(steps: Iterable[Step]) -> PostprocessingConfig:
    """Put steps into one section."""
    merged: dict[str, Any] = {}
    for step in steps:
        for key in step.config.model_fields_set:
            value = getattr(step.config, key)
            merged[key] = (*merged[key], *value) if key in merged else value
    return PostprocessingConfig(**merged)


def _passes(table: pd.DataFrame, step: Step) -> bool:
    verdicts = set(table.loc[table["step"] == step.name, "verdict"])
    return "helps" in verdicts and "hurts" not in verdicts


def _measured(
    measure: Any, posteriors: Mapping[str, Path], steps: Sequence[Step], workers: int
) -> pd.DataFrame:
    """Measure steps on all subjects: a row per step, subject and structure that it changes.

    Rows without a step are about the likeliest structures.
    """
    work = partial(measure, steps=steps)
    rows = map_subjects(work, [*posteriors], workers=workers, title="post-processing")
    return pd.DataFrame([row for of_subject in rows for row in of_subject])


def _measure_subject(
    subject: str,
    *,
    dataset: Dataset,
    posteriors: Mapping[str, Path],
    measurement: Measurement,
    steps: Sequence[Step],
) -> list[dict[str, Any]]:
    reference = dataset.label_map(subject, measurement.structures)
    posterior = read_posterior(posteriors[subject])
    if posterior.array.shape != (*reference.array.shape, len(measurement.structures)):
        raise CrossfoldError(
            f"{posteriors[subject]}: not on the grid of the contours of subject `{subject}`",
            remedy="delete it, so that the next run predicts the subject again",
        )
    labels = measurement.labels
    plain = segment(posterior.array, whole=POSTERIOR_SCALE, labels=labels)
    rows = _rows("", subject, labels, reference, plain, measurement)
    for step in steps:
        changed = segment(
            posterior.array,
            whole=POSTERIOR_SCALE,
            labels=labels,
            postprocessing=step.config,
            affine=posterior.affine,
            likeliest=plain,
        )
        differs = plain != changed
        if differs.any():
            values = {*np.unique(plain[differs]), *np.unique(changed[differs])}
            touched = {name: of for name, of in labels.items() if values & {*of}}
            rows += _rows(step.name, subject, touched, reference, changed, measurement)
    return rows


def _rows(
    step: str,
    subject: str,
    labels: Mapping[str, Sequence[int]],
    reference: Image,
    segmentation: NDArray[np.uint8],
    measurement: Measurement,
) -> list[dict[str, Any]]:
    measured = measure_label_maps(
        reference.array,
        segmentation,
        labels=labels,
        spacing_mm=reference.spacing_mm,
        nsd_tolerance_mm={name: measurement.config.tolerance_of(name) for name in labels},
    )
    kept = ("structure", "state", "dice", "hd95_mm")
    return [
        {"step": step, "subject": subject, **{key: row[key] for key in kept}} for row in measured
    ]


def _compare(
    measured: pd.DataFrame, steps: Sequence[Step], statistics: StatisticsConfig
) -> pd.DataFrame:
    """Compare each step with none, per structure that it names or changes."""
    without = measured[measured["step"] == ""].set_index(_KEYS).drop(columns="step")
    rows = []
    for step in steps:
        changed = measured[measured["step"] == step.name].set_index(_KEYS).drop(columns="step")
        with_step = without.copy()
        with_step.loc[changed.index] = changed
        touched = {*changed.index.get_level_values("structure")}
        for structure in without.index.unique("structure"):
            if structure in touched or structure in step.structures:
                n_changed = int((changed.index.get_level_values("structure") == structure).sum())
                about = {"step": step.name, "structure": structure, "n_changed": n_changed}
                here = without.index.get_level_values("structure") == structure
                found = _compare_structure(without[here], with_step[here], statistics)
                rows.append({**about, **found})
    return pd.DataFrame(rows)


def _compare_structure(
    without: pd.DataFrame, with_step: pd.DataFrame, statistics: StatisticsConfig
) -> dict[str, Any]:
    """Compare the same subjects (index), but for those in which nobody sees the structure."""
    present = (without["state"] != "true_absent") | (with_step["state"] != "true_absent")
    without, with_step = without[present], with_step[present]
    # To invent nothing is as good as can be, once there was something to remove.
    before, after = (frame["dice"].astype(float).fillna(1) for frame in (without, with_step))
    differences: NDArray[np.float64] = np.asarray(after - before, dtype=np.float64).round(9)
    low, high = np.nan, np.nan
    if len(differences) >= FEWEST_FOR_INTERVAL:
        (low,), (high,) = bootstrap_intervals(
            differences[:, np.newaxis],
            "mean",
            confidence=statistics.confidence,
            resamples=statistics.resamples,
            seed=statistics.seed,
        )
    failed = ["missed", "hallucinated"]
    return {
        "n": len(differences),
        "dice_without": before.mean(),
        "dice_with": after.mean(),
        "dice_difference": differences.mean() if len(differences) else np.nan,
        "ci_low": low,
        "ci_high": high,
        "failures_without": int(without["state"].isin(failed).sum()),
        "failures_with": int(with_step["state"].isin(failed).sum()),
        "hd95_mm_without": without["hd95_mm"].astype(float).median(),
        "hd95_mm_with": with_step["hd95_mm"].astype(float).median(),
        "verdict": _verdict(differences, low, high),
    }


def _verdict(differences: NDArray[np.float64], low: float, high: float) -> str:
    """Say whether a step helps: the mean rises, and its interval does not reach below 0.

    Without an interval, no subject may lose.
    """
    if not differences.any():
        return "no_change"
    if np.isnan(low):
        low, high = differences.min(), differences.max()
    if differences.mean() > 0 and low >= 0:
        return "helps"
    if differences.mean() < 0 and high <= 0:
        return "hurts"
    return "unclear"
