"""Results in words: the headline, and each planned comparison in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crossfold.paper.facts import Facts
from crossfold.paper.tables.numbers import (
    confidence_in_percent,
    decimals_of,
    number,
    p_value,
    with_interval,
)

METRIC_WORDS = {
    "dice": "Dice",
    "iou": "IoU",
    "nsd": "NSD",
    "hd_mm": "HD",
    "hd95_mm": "HD95",
    "assd_mm": "ASSD",
}
_VERDICTS = {
    "a_better": "better",
    "b_better": "worse",
    "non_inferior": "not inferior",
    "inconclusive": "inconclusive",
    "refused": "refused",
    "not_computed": "not computed",
}
_UNITS = ("mm", "ml", "%")
# With more structures than this, the headline gives the range over them.
_NAMED_STRUCTURES = 3


@dataclass(frozen=True)
class Sentence:
    """A comparison in words: kind is its verdict, label that verdict for people."""

    kind: str
    label: str
    text: str


def headline(facts: Facts) -> str:
    """Return the mean Dice of a run in one sentence, with intervals and failures."""
    results = [facts.result(structure, "dice") for structure in facts.structures]
    known = [result for result in results if result and not math.isnan(result.mean)]
    if not known:
        return f"Nothing was measured on {facts.split_in_words}."
    confidence = confidence_in_percent(facts.statistics.confidence)
    decimals = decimals_of((result.ci_high - result.ci_low for result in known), 2)
    who = {
        "val": f"On {facts.splits.development} subjects, each predicted by the fold that was not "
        "trained on it,",
        "test": f"On {facts.splits.test} test subjects, predicted by the ensemble,",
    }[facts.split]
    values = {
        result.structure: f"{with_interval(result.mean, result.ci_low, result.ci_high, decimals)} "
        f"for {result.structure}"
        for result in known
    }
    if len(known) <= _NAMED_STRUCTURES:
        what = f"mean Dice is {_listed([*values.values()])}"
    else:
        worst, *_, best = sorted(known, key=lambda result: result.mean)
        what = (
            f"mean Dice ranges from {values[worst.structure]} to {values[best.structure]}, over "
            f"{len(known)} structures"
        )
    has_interval = any(not math.isnan(result.ci_low) for result in known)
    interval = f" ({confidence} confidence intervals)" if has_interval else ""
    failed, measured = sum(result.n_failed for result in known), sum(result.n for result in known)
    failures = (
        f"{failed} of {measured} structures {'was' if failed == 1 else 'were'} missed or invented"
        if failed
        else "No structure was missed or invented"
    )
    return f"{who} {what}{interval}. {failures}."


def planned_comparisons(facts: Facts) -> Iterator[Sentence]:
    """Yield each comparison of the planned family in one sentence."""
    frame = facts.comparisons
    if frame.empty:
        return
    for row in frame[frame["role"] == "confirmatory"].to_dict("records"):
        verdict = str(row["verdict"])
        yield Sentence(verdict, _VERDICTS.get(verdict, verdict), _comparison(row, facts))


def _comparison(row: dict[Any, Any], facts: Facts) -> str:
    metric = METRIC_WORDS.get(row["metric"], str(row["metric"]))
    unit = f" {row['unit']}" if row["unit"] in _UNITS else ""
    about = f"{metric} of {row['structure']}, {_side(row, 'a')} against {_side(row, 'b')}: "
    if row["verdict"] in ("refused", "not_computed"):
        return about + f"{_VERDICTS[row['verdict']]}, because {_clause(row['reason'])}."
    low, high = _float(row["diff_ci_low"]), _float(row["diff_ci_high"])
    decimals = decimals_of([high - low], 1 if unit else 3)
    difference = number(_float(row["diff_hl"]), decimals)
    if difference[0] in "0123456789∞" and set(difference) & set("123456789∞"):
        difference = f"+{difference}"
    interval = (
        f"{confidence_in_percent(facts.statistics.confidence)} CI {number(low, decimals)} to "
        f"{number(high, decimals)}, "
        if not math.isnan(low)
        else ""
    )
    p = p_value(_float(row["p_adjusted"]), facts.statistics.alpha)
    p = p if p.startswith("<") else f"= {p}"
    correction = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}.get(
        str(row["correction"]), str(row["correction"])
    )
    return (
        f"{about}{difference}{unit} ({interval}adjusted p {p} after {correction}, {_count(row)}); "
        f"{_conclusion(row)}."
    )


def _conclusion(row: dict[Any, Any]) -> str:
    margin = number(_float(row["margin"]), 3).rstrip("0")
    return {
        "a_better": f"{_side(row, 'a')} is better",
        "b_better": f"{_side(row, 'b')} is better",
        "non_inferior": f"{_side(row, 'a')} is not inferior, given the margin of {margin}",
        "inconclusive": "this decides nothing either way",
    }.get(str(row["verdict"]), str(row["verdict"]))


def _side(row: dict[Any, Any], side: str) -> str:
    """Name one side: a run, and the institution for a comparison within a run."""
    group = row.get(f"group_{side}", "")
    return (
        f"{row[f'run_{side}']}, {group}" if isinstance(group, str) and group else row[f"run_{side}"]
    )


def _count(row: dict[Any, Any]) -> str:
    if row["design"] == "unpaired":
        return f"n = {_float(row['n_a']):.0f} and {_float(row['n_b']):.0f}"
    return f"n = {_float(row['n']):.0f}"


def _clause(reason: object) -> str:
    """Return a reason as the end of a sentence."""
    text = reason.strip().rstrip(".") if isinstance(reason, str) else ""
    return text or "no reason was given"


def _float(value: object) -> float:
    """Return a cell as a number; an empty one is missing."""
    return math.nan if value in ("", None) else float(str(value))


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
