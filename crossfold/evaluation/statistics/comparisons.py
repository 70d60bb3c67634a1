"""comparisons.csv: one row per pair of sides, structure and metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.alignment import Aligned, align
from crossfold.evaluation.statistics.contests import Contest
from crossfold.evaluation.statistics.paired import compare_paired
from crossfold.evaluation.statistics.plan import CONFIRMATORY, Plan, comparison_id
from crossfold.evaluation.statistics.runs import COMPARED_METRICS
from crossfold.evaluation.statistics.signed_ranks import differences_of, signed_ranks
from crossfold.evaluation.statistics.unpaired import compare_unpaired
from crossfold.evaluation.statistics.verdicts import judge
from crossfold.evaluation.tables import METRICS

COMPARISONS_COLUMNS = [
    *("family_id", "role", "comparison_id", "model_a", "model_b", "run_a", "run_b"),
    *("group_a", "group_b", "split", "design", "folds_differ"),
    *("structure", "metric", "unit", "better"),
    *("n", "n_a", "n_b", "n_dropped", "n_failed_a", "n_failed_b"),
    *("median_a", "median_b", "diff_hl", "diff_ci_low", "diff_ci_high", "diff_mean"),
    *("test", "statistic", "p_raw", "p_permutation_mean", "correction", "m", "p_adjusted"),
    *("effect_name", "effect", "effect_ci_low", "effect_ci_high", "p_a_better"),
    *("folds_agree", "margin", "verdict", "reason"),
]
EXPLORATORY_RESAMPLES = 999
"""Resamples of what is not planned, at most: hundreds of rows, whose intervals nobody quotes."""

MIN_PATIENTS_FOR_INTERVAL = 10
"""Below, a bootstrap covers too little."""

# As a share; then an interval may end at 0 though the test is significant.
_MANY_TIES = 0.2

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """A row of comparisons.csv, and what it was computed from."""

    contest: Contest
    structure: str
    metric: str
    aligned: Aligned
    row: Row


def compare(
    contests: Sequence[Contest],
    structures: Sequence[str],
    tolerances: pd.DataFrame,
    plan: Plan,
    config: StatisticsConfig,
) -> list[Comparison]:
    """Compare the sides of all contests, structure by structure and metric by metric.

    Parameters
    ----------
    contests
        What `find_contests` returned.
    structures
        Structures of the model that are not excluded, in order.
    tolerances
        Tolerance of the normalised surface Dice in mm: the columns run, structure and
        nsd_tolerance_mm.
    plan
        What `make_plan` returned.
    config
        Section `statistics`.

    Returns
    -------
    list of Comparison
        Rows without what the family decides: `correction`, `m`, `p_adjusted` and, unless the
        comparison was refused or could not be computed, `verdict`.
    """
    planned = {one["comparison_id"] for one in plan["families"][0]["comparisons"]}
    known = tolerances.dropna().groupby(["run", "structure"])["nsd_tolerance_mm"].first()
    return [
        comparison
        for contest in contests
        for structure in structures
        for comparison in _compare_structure(contest, structure, known, planned, config)
    ]


def comparisons_table(comparisons: Sequence[Comparison], config: StatisticsConfig) -> pd.DataFrame:
    """Correct for multiplicity and judge.

    Returns
    -------
    DataFrame
        The columns `COMPARISONS_COLUMNS`.
    """
    table = pd.DataFrame([one.row for one in comparisons], columns=COMPARISONS_COLUMNS)
    return judge(table, config)


def measure(aligned: Aligned, metric: str, config: StatisticsConfig, resamples: int) -> Row:
    """Compute the numbers of a row.

    Parameters
    ----------
    aligned
        The two sides.
    metric
        One of the columns of metrics, without missing values.
    config
        Confidence and seed.
    resamples
        Number of resamples.
    """
    a, b = (side[metric].to_numpy(float) for side in (aligned.a, aligned.b))
    row: Row = {
        "design": "paired" if aligned.paired else "unpaired",
        "n": len(a) if aligned.paired else len(a) + len(b),
        "n_a": aligned.n_a,
        "n_b": aligned.n_b,
        "n_dropped": aligned.n_dropped,
        "n_failed_a": aligned.a["failed"].sum(),
        "n_failed_b": aligned.b["failed"].sum(),
        "median_a": _median(a),
        "median_b": _median(b),
    }
    how: dict[str, Any] = {
        "higher_is_better": METRICS.loc[metric, "better"] == "higher",
        "confidence": config.confidence,
        "resamples": resamples,
        "seed": config.seed,
    }
    if aligned.paired:
        clusters = list(aligned.a["cluster"]) if aligned.a["cluster"].duplicated().any() else None
        row |= _paired_numbers(a, b, clusters, how)
    else:
        row |= _unpaired_numbers(a, b, how)
    patients = min(side["cluster"].nunique() for side in (aligned.a, aligned.b))
    if patients < MIN_PATIENTS_FOR_INTERVAL and not np.isnan(row["effect_ci_low"]):
        row |= {"effect_ci_low": np.nan, "effect_ci_high": np.nan}
        few = f"fewer than {MIN_PATIENTS_FOR_INTERVAL} patients: no interval of the effect"
        row["reason"] = "; ".join(filter(None, (row["reason"], few)))
    return row


def _paired_numbers(
    a: NDArray[np.float64], b: NDArray[np.float64], clusters: list[str] | None, how: dict[str, Any]
) -> Row:
    result = compare_paired(a, b, clusters=clusters, **how)
    notes = []
    if clusters is not None:
        notes.append(f"{result.n} scans of {len(set(clusters))} patients")
    if result.n_zero > _MANY_TIES * result.n:
        notes.append(f"{result.n_zero} of {result.n} are ties")
    return {
        **_common_numbers(result, "wilcoxon", "rank_biserial"),
        "diff_mean": result.mean_difference,
        "p_permutation_mean": result.p_permutation_mean,
        "reason": "; ".join(filter(None, (*notes, result.note))),
    }


def _unpaired_numbers(a: NDArray[np.float64], b: NDArray[np.float64], how: dict[str, Any]) -> Row:
    result = compare_unpaired(a, b, **how)
    finite = a.size and b.size and np.isfinite(a).all() and np.isfinite(b).all()
    row = _common_numbers(result, "mann_whitney", "cliffs_delta")
    check = f"Brunner-Munzel p = {result.p_brunner_munzel:.3g}"
    reason = [row["reason"], "" if np.isnan(result.p_brunner_munzel) else check]
    return row | {
        "diff_mean": a.mean() - b.mean() if finite else np.nan,
        "p_brunner_munzel": result.p_brunner_munzel,
        "reason": "; ".join(filter(None, reason)),
    }


def _common_numbers(result: Any, test: str, effect_name: str) -> Row:
    return {
        "diff_hl": result.estimate,
        "diff_ci_low": result.ci_low,
        "diff_ci_high": result.ci_high,
        "test": f"{test}_{result.method}" if result.method else test,
        "statistic": result.statistic,
        "p_raw": result.p,
        "effect_name": effect_name,
        "effect": result.effect,
        "effect_ci_low": result.effect_ci_low,
        "effect_ci_high": result.effect_ci_high,
        "p_a_better": result.p_a_better,
        "reason": result.note,
    }


def _compare_structure(
    contest: Contest,
    structure: str,
    tolerances: pd.Series[float],
    planned: Collection[str],
    config: StatisticsConfig,
) -> Iterator[Comparison]:
    design = "unpaired" if contest.family == "institutions" else ""
    aligned = align(
        contest.a, contest.b, structure, repeated_scans=config.repeated_scans, design=design
    )
    margins: Mapping[Any, float] = config.margins if contest.family == "runs" else {}
    for metric in COMPARED_METRICS:
        row = _identity(contest, structure, metric, planned)
        is_planned = row["family_id"] == CONFIRMATORY
        verdict, reason = _obstacle(contest, structure, metric, aligned, tolerances)
        if verdict:
            row |= {"verdict": verdict, "reason": "; ".join((reason, *contest.notes))}
            yield Comparison(contest, structure, metric, aligned, row)
            continue
        resamples = config.resamples if is_planned else min(EXPLORATORY_RESAMPLES, config.resamples)
        numbers = measure(aligned, metric, config, resamples)
        reasons = (*contest.notes, *aligned.reasons, numbers.pop("reason"))
        row |= numbers | {
            "folds_agree": _folds_agree(aligned, metric, row["split"], numbers["effect"]),
            "margin": margins.get(metric, np.nan),
            "verdict": "not_computed" if np.isnan(numbers["p_raw"]) else "",
            "reason": "; ".join(filter(None, reasons)),
        }
        yield Comparison(contest, structure, metric, aligned, row)


def _identity(contest: Contest, structure: str, metric: str, planned: Collection[str]) -> Row:
    name = comparison_id(contest.name, contest.split, structure, metric)
    is_planned = contest.family == "runs" and name in planned
    return {
        "family_id": CONFIRMATORY if is_planned else contest.family,
        "role": "confirmatory" if is_planned else "exploratory",
        "comparison_id": name,
        "model_a": contest.a.model,
        "model_b": contest.b.model,
        "run_a": contest.a.label,
        "run_b": contest.b.label,
        "group_a": contest.a.group,
        "group_b": contest.b.group,
        "split": contest.split,
        "folds_differ": contest.folds_differ,
        "structure": structure,
        "metric": metric,
        "unit": METRICS.loc[metric, "unit"],
        "better": METRICS.loc[metric, "better"],
    }


def _obstacle(
    contest: Contest, structure: str, metric: str, aligned: Aligned, tolerances: pd.Series[float]
) -> tuple[str, str]:
    """Verdict and reason of what is not to be compared; empty if it is."""
    if contest.refused:
        return "refused", contest.refused
    if contest.impossible:
        return "not_computed", contest.impossible
    sides = contest.a, contest.b
    without = [side.label for side in sides if not (side.rows["structure"] == structure).any()]
    if without:
        return "not_computed", f"no structure {structure}: {', '.join(without)}"
    if aligned.a.empty or aligned.b.empty:
        return "not_computed", "; ".join(("no subject to compare", *aligned.reasons))
    unmeasured = [side.label for side in sides if side.rows[metric].isna().all()]
    if unmeasured:
        return "not_computed", f"{metric} not measured: {', '.join(unmeasured)}"
    if metric == "nsd":
        mm = [tolerances.get((side.label, structure)) for side in sides]
        if None not in mm and mm[0] != mm[1]:
            return "not_computed", (
                f"NSD at {mm[0]:g} mm in {sides[0].label}, at {mm[1]:g} mm in {sides[1].label}"
            )
    return "", ""


def _folds_agree(aligned: Aligned, metric: str, split: str, effect: float) -> str:
    """In how many folds of a the effect has the sign of the overall one.

    The effect is that of the test, the sum of the signed ranks: distances are so often equal that
    the median difference of a fold may be 0 where all others point the same way.
    """
    folds = aligned.a["fold"]
    if split != "val" or not aligned.paired or (folds == "").all():
        return ""
    a, b = (side[metric].to_numpy(float) for side in (aligned.a, aligned.b))
    by_fold = pd.Series(differences_of(a, b)).groupby(folds.to_numpy())
    sums = by_fold.agg(lambda differences: signed_ranks(differences.to_numpy()).sum())
    return f"{np.sum(np.sign(sums) == np.sign(effect))}/{len(sums)}"


def _median(values: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.median(values)) if values.size else np.nan
