"""The plan: what will be compared, and when a difference counts, before there is any result.

It is written from the configuration alone, and its hash goes into the paper. Everything that it
does not name is exploratory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from crossfold.config.statistics import StatisticsConfig
from crossfold.errors import CrossfoldError
from crossfold.evaluation.statistics.runs import check_labels
from crossfold.images import atomic_path

CONFIRMATORY = "planned"
EXPLORATORY = {
    "runs": "all other structures, metrics and splits of the planned pairs of runs",
    "members": "folds against each other and the ensemble, on the test set",
    "institutions": "institutions against each other within the model, on the primary split",
}
"""Families of comparisons that are not planned; each is corrected on its own."""

Plan = dict[str, Any]


def make_plan(
    label: str,
    others: Sequence[str],
    structures: Sequence[str],
    config: StatisticsConfig,
    *,
    results_existed: bool,
) -> Plan:
    """Declare the planned comparisons of a model.

    Parameters
    ----------
    label
        The model.
    others
        Labels of the runs that it is compared with.
    structures
        Structures of the model, derived ones behind.
    config
        Section `statistics`.
    results_existed
        Whether the model had been measured already when the plan was made.

    Returns
    -------
    dict
        What goes into plan.json; `sha256` is the hash of everything else as canonical JSON.

    Raises
    ------
    CrossfoldError
        If a label occurs twice, or the reference or a structure is unknown.
    """
    check_labels([label, *others])
    plan: Plan = {
        "model": label,
        "runs": [label, *others],
        "pairs": config.pairs,
        "reference": config.reference if config.reference in (label, *others) else label,
        "primary_split": config.primary_split,
        "primary_metrics": list(config.primary_metrics),
        "primary_structures": planned_structures(structures, config),
        "exclude_structures": list(config.exclude_structures),
        "ignore_subjects": list(config.ignore_subjects),
        "repeated_scans": config.repeated_scans,
        "test": "Wilcoxon signed-rank (Pratt) on common subjects, Mann-Whitney U without any",
        "alpha": config.alpha,
        "margins": dict(sorted(config.margins.items())),
        "confidence": config.confidence,
        "resamples": config.resamples,
        "seed": config.seed,
        "families": _families(label, others, structures, config),
        "results_existed": results_existed,
    }
    return plan | {"sha256": _hash(plan)}


def write_plan(path: str | os.PathLike[str], plan: Plan) -> None:
    """Write plan.json, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Read plan.json.

    Raises
    ------
    CrossfoldError
        If it is missing, unreadable, or was edited after it was written.
    """
    remedy = "plan anew by deleting it, which `results_existed` will then tell"
    try:
        plan = json.loads(Path(path).read_text(encoding="utf-8"))
        content = {name: value for name, value in plan.items() if name != "sha256"}
        intact = plan["sha256"] == _hash(content)
    except FileNotFoundError as error:
        raise CrossfoldError(f"{path}: no such file", remedy="write the plan first") from error
    except (ValueError, AttributeError, KeyError) as error:
        raise CrossfoldError(f"{path}: not readable as a plan ({error})", remedy=remedy) from error
    if not intact:
        raise CrossfoldError(
            f"{path}: the plan was edited after it was written: its content gives sha256 "
            f"{_hash(content)}, not {plan['sha256']}",
            remedy=f"restore it with git, or {remedy}",
        )
    return plan


def check_plan(plan: Plan, expected: Plan) -> None:
    """Refuse a plan that was made from another configuration than the one in use.

    Raises
    ------
    CrossfoldError
        Names what differs.
    """
    aside = {"sha256", "results_existed"}
    differing = [
        name for name in expected if name not in aside and plan.get(name) != expected[name]
    ]
    if differing:
        first = differing[0]
        raise CrossfoldError(
            f"plan.json: {', '.join(differing)} changed in the configuration since it was written"
            + (
                ""
                if first == "families"
                else f": {first} was {plan.get(first)}, now {expected[first]}"
            ),
            remedy="change it back, or plan anew by deleting plan.json",
        )


def planned_pairs(
    label: str, others: Sequence[str], config: StatisticsConfig
) -> list[tuple[str, str]]:
    """Pairs of runs to compare: the model, or the reference's opponent, comes first.

    A model that is not compared with `statistics.reference` is its own reference.
    """
    runs = [label, *others]
    reference = config.reference if config.reference in runs else label
    if config.pairs == "all":
        return list(combinations(runs, 2))
    opponents = [run for run in runs if run != reference]
    if reference == label:
        return [(label, run) for run in opponents]
    return [(run, reference) for run in opponents]


def planned_structures(structures: Sequence[str], config: StatisticsConfig) -> list[str]:
    """Structures of the planned comparisons: the primary ones of the model, or all.

    Raises
    ------
    CrossfoldError
        If a primary structure is excluded.
    """
    for name in config.primary_structures:
        if name in config.exclude_structures:
            raise CrossfoldError(
                f"config.yaml: statistics.primary_structures: `{name}` is excluded",
                remedy="take it out of statistics.exclude_structures",
            )
    kept = [name for name in structures if name not in config.exclude_structures]
    return [name for name in kept if name in config.primary_structures] or kept


def comparison_id(contestants: str, split: str, structure: str, metric: str) -> str:
    """Name of one comparison: who, on whom, of what."""
    return f"{contestants} / {split} / {structure} / {metric}"


def _families(
    label: str, others: Sequence[str], structures: Sequence[str], config: StatisticsConfig
) -> list[dict[str, Any]]:
    """The planned family, comparison by comparison, and what the exploratory ones are about."""
    split = config.primary_split
    comparisons = [
        {
            "comparison_id": comparison_id(f"{a} vs {b}", split, structure, metric),
            "run_a": a,
            "run_b": b,
            "split": split,
            "structure": structure,
            "metric": metric,
        }
        for a, b in planned_pairs(label, others, config)
        for structure in planned_structures(structures, config)
        for metric in config.primary_metrics
    ]
    confirmatory = {
        "family_id": CONFIRMATORY,
        "role": "confirmatory",
        "correction": "holm",
        "m": len(comparisons),
        "comparisons": comparisons,
    }
    exploratory = [
        {"family_id": name, "role": "exploratory", "correction": "fdr_bh", "comparisons": about}
        for name, about in EXPLORATORY.items()
    ]
    return [confirmatory, *exploratory]


def _hash(content: Plan) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
