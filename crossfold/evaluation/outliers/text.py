"""test_outliers.txt and val_outliers.txt, in the layout of InnerEye.

What differs from InnerEye: mean and standard deviation are those of the structure, not of all
structures together; each metric is judged by its own values (InnerEye listed rows with a high Dice
under the Hausdorff distance); infinite distances are left out of mean and standard deviation and
are listed, where InnerEye found no outlier at all as soon as there was one; the limits are printed;
among subjects with the same count, the worst come first; the query leaves out what is not known,
and quotes are escaped.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd

from crossfold.config.outliers import OutliersConfig
from crossfold.data.text_tables import fixed_width
from crossfold.evaluation.tables import METRICS

TEXT_METRICS = ("dice", "nsd", "hd_mm", "hd95_mm", "assd_mm")

_GROUPED = {
    "subject": "Patient",
    "structure": "Structure",
    "series": "seriesId",
    "institution": "institutionId",
}
_NAMES = {"val": "validation", "test": "test"}


def outliers_text(metrics: pd.DataFrame, split: str, config: OutliersConfig) -> str:
    """List results that are far from the mean of their structure, for each metric.

    Parameters
    ----------
    metrics
        metrics.csv of one run.
    split
        val or test. On test, each subject has one result per fold and one of the ensemble.
    config
        Number of standard deviations.
    """
    rows = metrics[metrics["split"] == split]
    if rows.empty:
        return f"There are no results on the {_NAMES[split]} set.\n"
    explanation = (
        "Listed are results that are worse than the mean of their structure by more than "
        f"{config.standard_deviations:g} standard deviations, and infinite distances, which mean "
        "and standard deviation leave out. count: how many results of a subject are listed (it has "
        f"{_results_of_subject(rows, split)}); mean, min, max: of the listed ones. outliers.csv "
        "has more reasons to look at a result."
    )
    title = f"Outliers among the results of {rows['model'].iloc[0]} on the {_NAMES[split]} set"
    sections = [
        f"{title}\n\n{textwrap.fill(explanation, 100)}",
        *(_section(rows, metric, config.standard_deviations) for metric in TEXT_METRICS),
    ]
    return "\n\n\n".join(sections) + "\n"


def portal_query(institutions: Iterable[str], series: Iterable[str]) -> str:
    """Query of InnerEye's portal for the images of these institutions and series.

    Empty names are left out; without any name there is no query, but an empty text.
    """
    by_institution = " OR ".join(
        f"r.InstitutionId = {_quoted(name)}" for name in dict.fromkeys(institutions) if name
    )
    by_series = " OR ".join(
        f"STARTSWITH(r.VersionedDicomImageSeries.Latest.Series.InstanceUID,{_quoted(name)})"
        for name in dict.fromkeys(series)
        if name
    )
    conditions = [f"({condition})" for condition in (by_institution, by_series) if condition]
    if not conditions:
        return ""
    return " AND ".join(["SELECT * FROM ROOT as r WHERE true", *conditions])


def _results_of_subject(rows: pd.DataFrame, split: str) -> str:
    """What results each subject has for a structure."""
    folds = set(rows["fold"])
    if split == "val" or len(folds) == 1:
        return "one"
    members = folds - {"ensemble"}
    return f"one of each of {len(members)} folds{' and of their ensemble' * (members != folds)}"


def _section(rows: pd.DataFrame, metric: str, deviations: float) -> str:
    low_is_bad = bool(METRICS.loc[metric, "better"] == "higher")
    finite = rows[metric].where(np.isfinite(rows[metric]))
    described = finite.groupby(rows["structure"], sort=False).agg(["count", "mean", "std"])
    sign = -1 if low_is_bad else 1
    limits = described["mean"] + sign * deviations * described["std"]
    limit = rows["structure"].map(limits)
    beyond = rows[metric] < limit if low_is_bad else rows[metric] > limit
    outliers = rows[beyond | np.isposinf(rows[metric])]
    shown = pd.DataFrame(
        {
            "Structure": described.index.astype(str),
            "n": described["count"].map(str),
            "mean": described["mean"].map(_number),
            "std": described["std"].map(_number),
            "lowest" if low_is_bad else "highest": limits.map(_number),
        }
    )
    parts = [f"=== METRIC: {metric} ===", fixed_width(shown, left=["Structure"])]
    # Of n values, none is further from their mean than (n - 1) / sqrt(n) standard deviations.
    few = [
        str(structure)
        for structure, n in described["count"].items()
        if (n - 1) ** 2 <= deviations**2 * n
    ]
    if few:
        parts.append(f"Too few results for any to lie that far from their mean: {', '.join(few)}")
    if outliers.empty:
        return "\n\n".join([*parts, "No outliers found"])
    parts.append(_summary(outliers, metric, low_is_bad=low_is_bad))
    query = portal_query(outliers["institution"], outliers["series"])
    return "\n\n".join([*parts, query] if query else parts)


def _summary(outliers: pd.DataFrame, metric: str, *, low_is_bad: bool) -> str:
    grouped = outliers.groupby(list(_GROUPED), sort=False)[metric]
    summary = grouped.agg(["count", "mean", "min", "max"]).reset_index()
    summary = summary.sort_values(
        ["count", "mean", "min", "max"], ascending=[False, *[low_is_bad] * 3], kind="stable"
    )
    numbers = {name: summary[name].map(_number) for name in ("mean", "min", "max")}
    table = summary.assign(count=summary["count"].map(str), **numbers).rename(columns=_GROUPED)
    return fixed_width(table, left=list(_GROUPED.values()))


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"


def _quoted(name: str) -> str:
    """Name as a literal of the portal's query language, whose escapes are those of JSON."""
    return json.dumps(name, ensure_ascii=False)
