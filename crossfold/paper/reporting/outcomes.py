"""What came out, in sentences made from the facts; empty where the pipeline does not know."""

from __future__ import annotations

import math
from collections.abc import Iterator

from crossfold.paper.facts import Facts, Result
from crossfold.paper.tables.comparisons import METRIC_NAMES
from crossfold.paper.tables.numbers import (
    confidence_in_percent,
    decimals_of,
    p_value,
    with_interval,
    with_quartiles,
)

_SPLITS = {"val": "Out of fold", "test": "Ensemble on the test set"}
_METRICS = {"dice": 2, "nsd": 2, "hd95_mm": 1}


def precision(facts: Facts) -> str:
    """Say how precise the size of the sample made the results."""
    widths = {
        result.structure: result.ci_high - result.ci_low
        for result in facts.of_split()
        if result.metric == "dice" and not math.isnan(result.ci_low)
    }
    if not widths:
        return "No sample size was calculated; there are too few subjects for confidence intervals."
    listed = ", ".join(f"{structure} {width:.2g}" for structure, width in widths.items())
    return (
        "No sample size was calculated. Widths of the "
        f"{confidence_in_percent(facts.statistics.confidence)} confidence intervals of mean Dice, "
        f"{facts.split_in_words}: {listed}."
    )


def external(facts: Facts) -> str:
    """Say whether the test set is external."""
    if not facts.splits.test:
        return "Not tested on external data: there is no test set."
    if facts.splits.new_institutions:
        return (
            "Institutions of the test set that no fold was trained on: "
            f"{', '.join(facts.splits.new_institutions)}."
        )
    if facts.splits.test_institutions:
        return (
            "Not tested on external data: every known institution of the test set was trained on."
        )
    return "It is not known whether the test set is external: its institutions are not known."


def performance(facts: Facts) -> str:
    """Give the headline in both splits."""
    return " ".join(_performance(facts))


def _performance(facts: Facts) -> Iterator[str]:
    for split, words in _SPLITS.items():
        results = [result for result in facts.of_split(split) if result.metric in _METRICS]
        by_structure: dict[str, list[str]] = {}
        for result in results:
            by_structure.setdefault(result.structure, []).append(_estimate(result, facts))
        if by_structure:
            listed = "; ".join(f"{name}: {', '.join(said)}" for name, said in by_structure.items())
            yield f"{words}, {listed}."


def _estimate(result: Result, facts: Facts) -> str:
    decimals = decimals_of([result.ci_high - result.ci_low], _METRICS[result.metric])
    name = METRIC_NAMES[result.metric].removesuffix(" (mm)")
    unit = " mm" if result.unit == "mm" else ""
    value = getattr(result, result.ci_statistic)
    if math.isnan(result.ci_low):
        quartiles = with_quartiles(result.median, result.q1, result.q3, decimals)
        return f"median {name} {quartiles}{unit} (n = {result.n})"
    interval = f"{confidence_in_percent(facts.statistics.confidence)} CI "
    estimate = with_interval(value, result.ci_low, result.ci_high, decimals)
    written = estimate.replace("(", f"({interval}")
    return f"{result.ci_statistic} {name} {written}{unit} (n = {result.n})"


def comparisons(facts: Facts) -> str:
    """Say what the planned comparisons gave."""
    if facts.comparisons.empty:
        return ""
    planned = facts.comparisons[facts.comparisons["role"] == "confirmatory"]
    said = []
    for row in planned.to_dict("records"):
        what = f"{row['run_a']} against {row['run_b']}, {row['structure']}, {row['metric']}"
        if math.isnan(row["diff_hl"]):
            said.append(f"{what}: {row['verdict'].replace('_', ' ')} ({row['reason']}).")
            continue
        low, high = row["diff_ci_low"], row["diff_ci_high"]
        difference = with_interval(row["diff_hl"], low, high, decimals_of([high - low], 2))
        p = p_value(row["p_adjusted"], facts.statistics.alpha)
        verdict = row["verdict"].replace("_", " ")
        said.append(f"{what}: difference {difference}, adjusted p {p}, {verdict}.")
    return " ".join(said)


def sensitivity(facts: Facts) -> str:
    """Say whether a verdict depends on how it was computed."""
    if facts.sensitivity.empty:
        return ""
    planned = facts.sensitivity[facts.sensitivity["role"] == "confirmatory"]
    variants = ", ".join(planned["variant"].unique()).replace("_", " ")
    flips = planned[planned["verdict_flips"]]
    flipped = "; ".join(flips["comparison_id"] + " (" + flips["variant"] + ")")
    which = f"verdicts that change: {flipped}" if flipped else "no verdict changes"
    return (
        f"Planned comparisons again under other choices ({variants}): {which}." if variants else ""
    )


def failures(facts: Facts) -> str:
    """Count failures and outliers."""
    dice = [result for result in facts.of_split() if result.metric == "dice"]
    failed = [
        f"{result.structure}: {result.n_missed} missed, {result.n_hallucinated} hallucinated "
        f"(n = {result.n})"
        for result in dice
        if result.n_failed
    ]
    listed = (
        f"failures: {'; '.join(failed)}." if failed else "no structure was missed or hallucinated."
    )
    return (
        f"{facts.split_in_words[0].upper()}{facts.split_in_words[1:]}: {listed}{_outliers(facts)}"
    )


def _outliers(facts: Facts) -> str:
    """Count what the list of outliers gives as reasons."""
    if facts.outliers.empty:
        return ""
    counts = facts.outliers.groupby("reason", sort=False)["n"].sum()
    listed = ", ".join(f"{reason} {int(count)}" for reason, count in counts.items() if count)
    return f" Listed as outliers, none removed from the statistics: {listed or 'none'}."


def limitations(facts: Facts) -> str:
    """List what the pipeline itself can see."""
    return " ".join(facts.limitations)
