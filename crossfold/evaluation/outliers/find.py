"""The list of outliers: one row per result and reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from crossfold.config.outliers import OutliersConfig
from crossfold.evaluation.outliers.distributions import FENCES, disagreement_rule, rank_subjects
from crossfold.evaluation.outliers.rules import (
    INSPECTED,
    INSPECTED_RULES,
    INSPECTION_KEYS,
    RULES,
    Judgement,
    Rule,
)
from crossfold.evaluation.outliers.text import outliers_text
from crossfold.evaluation.results import result_rows

OUTLIER_COLUMNS = [
    *("model", "split", "fold", "subject", "institution", "series", "structure"),
    *("metric", "value", "unit", "reason", "class", "threshold", "severity", "rank"),
    *("suspected_cause", "note"),
]
REASON_COLUMNS = [
    *("model", "split", "structure", "class", "reason", "metric"),
    *("n_checked", "n", "rate", "note"),
]

_CLASSES = ["hard", "clinical", "statistical", "disagreement", "rank"]


def find_outliers(
    metrics: pd.DataFrame,
    inspection: pd.DataFrame | None,
    compared: pd.DataFrame | None,
    config: OutliersConfig,
    *,
    splits: Sequence[str] = ("val", "test"),
) -> dict[str, pd.DataFrame | str]:
    """List results that a reader should look at, with the reasons.

    Judged are the results of a run: on val those of all folds, on test those of the ensemble.

    Parameters
    ----------
    metrics
        metrics.csv of one run.
    inspection
        inspection.csv of the run; None leaves its reasons out.
    compared
        compared.csv: run, split, fold, subject, structure, dice. Rows of the run itself are not
        used; None leaves out the disagreement between runs.
    config
        Thresholds.
    splits
        Splits to look at.

    Returns
    -------
    dict
        `outliers` and `by_reason`: DataFrames with `OUTLIER_COLUMNS` and `REASON_COLUMNS`; and for
        each split `<split>_outliers`: the text in InnerEye's layout.

        In `outliers`, severity is how far the value lies beyond the threshold, as a fraction of
        it (empty without a threshold); rank is that of the subject by mean Dice, 1 is the worst;
        suspected_cause is left for a human. In `by_reason`, n_checked counts the results that the
        reason could apply to, and note says why there are none.
    """
    found: list[pd.DataFrame] = []
    counted: list[pd.DataFrame] = []
    for split in splits:
        rows = _with_inspection(result_rows(metrics, split), inspection)
        if rows.empty:
            continue
        ranking = rank_subjects(rows)
        rows = rows.assign(rank=rows["subject"].map(ranking["rank"]).astype("Int64"))
        for rule in _rules(rows, compared, split, with_inspection=inspection is not None):
            for _, of_structure in rows.groupby("structure", sort=False):
                judgement = rule.judge(of_structure, config)
                found.append(_listed(of_structure, rule, judgement))
                counted.append(_counted(of_structure, rule, judgement))
        worst = _worst(rows, ranking, config.worst)
        found.append(worst)
        counted.append(_counted_worst(worst, len(ranking)))
    outliers = pd.concat([pd.DataFrame(columns=OUTLIER_COLUMNS), *_not_empty(found)])
    by_reason = pd.concat([pd.DataFrame(columns=REASON_COLUMNS), *counted])
    texts = {f"{split}_outliers": outliers_text(metrics, split, config) for split in splits}
    return {
        "outliers": _sorted(outliers, splits),
        "by_reason": by_reason.reset_index(drop=True),
        **texts,
    }


def _with_inspection(rows: pd.DataFrame, inspection: pd.DataFrame | None) -> pd.DataFrame:
    """Add the columns `INSPECTED`, empty where a row was not inspected."""
    if inspection is None:
        return rows.assign(**dict.fromkeys(INSPECTED, np.nan))
    inspected = inspection[[*INSPECTION_KEYS, *INSPECTED]]
    merged = rows.merge(inspected, how="left", on=INSPECTION_KEYS, validate="many_to_one")
    return merged.astype({"touches_border": "boolean"})


def _rules(
    rows: pd.DataFrame, compared: pd.DataFrame | None, split: str, *, with_inspection: bool
) -> Iterator[Rule]:
    """Rules that apply to a split, in the order of the list."""
    yield from (rule for rule in RULES if with_inspection or rule not in INSPECTED_RULES)
    yield from FENCES
    if compared is not None:
        others = compared[compared["run"] != rows["model"].iloc[0]]
        for run, other in others.groupby("run", sort=False):
            result = result_rows(other, split)
            if not result.empty:
                yield disagreement_rule(str(run), result)


def _listed(rows: pd.DataFrame, rule: Rule, judgement: Judgement) -> pd.DataFrame:
    """Rows of the list: one for each result that a rule has found."""
    beyond = (judgement.value - judgement.threshold).abs()
    with np.errstate(divide="ignore"):
        severity = beyond / judgement.threshold.abs()
    listed = rows.assign(
        metric=rule.metric,
        value=judgement.value,
        unit=rule.unit,
        reason=rule.reason,
        threshold=judgement.threshold,
        severity=severity,
        suspected_cause="",
        note=judgement.note,
        **{"class": rule.outlier_class},
    )
    return listed.loc[judgement.found, OUTLIER_COLUMNS]


def _counted(rows: pd.DataFrame, rule: Rule, judgement: Judgement) -> pd.DataFrame:
    """Row of the counts: one structure and one rule."""
    first = rows.iloc[0]
    checked, found = int(judgement.checked.sum()), int(judgement.found.sum())
    row = {
        "model": first["model"],
        "split": first["split"],
        "structure": first["structure"],
        "class": rule.outlier_class,
        "reason": rule.reason,
        "metric": rule.metric,
        "n_checked": checked,
        "n": found,
        "rate": found / checked if checked else np.nan,
        "note": judgement.remark,
    }
    return pd.DataFrame([row], columns=REASON_COLUMNS)


def _worst(rows: pd.DataFrame, ranking: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows of the list: the subjects with the lowest mean Dice, so that it is never empty."""
    worst = ranking.head(count)
    subjects = rows.drop_duplicates("subject").set_index("subject").loc[worst.index].reset_index()
    note = [f"mean over structures; lowest: {structure}" for structure in worst["worst_structure"]]
    return subjects.assign(
        structure="",
        metric="dice",
        value=worst["mean_dice"].to_numpy(),
        unit="1",
        reason="worst",
        threshold=np.nan,
        severity=np.nan,
        suspected_cause="",
        note=note,
        **{"class": "rank"},
    )[OUTLIER_COLUMNS]


def _counted_worst(worst: pd.DataFrame, subjects: int) -> pd.DataFrame:
    """Row of the counts: the subjects that are listed for their rank, if there are any."""
    counted = worst.head(1).assign(
        n_checked=subjects, n=len(worst), rate=len(worst) / max(subjects, 1), note=""
    )
    return counted[REASON_COLUMNS]


def _sorted(outliers: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """By split and class; within a reason, the worst first."""
    reasons = {name: place for place, name in enumerate(dict.fromkeys(outliers["reason"]))}
    keys = pd.DataFrame(
        {
            "split": outliers["split"].map(list(splits).index),
            "class": outliers["class"].map(_CLASSES.index),
            "reason": outliers["reason"].map(reasons),
            "severity": -outliers["severity"].astype(float),
            "rank": outliers["rank"].astype("Int64"),
        }
    ).reset_index(drop=True)
    order = keys.sort_values(list(keys.columns), kind="stable").index
    numbers = dict.fromkeys(["value", "threshold", "severity"], float) | {"rank": "Int64"}
    return outliers.iloc[order].astype(numbers).reset_index(drop=True)


def _not_empty(frames: Iterable[pd.DataFrame]) -> list[pd.DataFrame]:
    return [frame for frame in frames if not frame.empty]
