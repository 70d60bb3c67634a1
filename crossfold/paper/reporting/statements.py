"""Sentences that the pipeline can vouch for, each with the files that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from crossfold.paper.facts import Facts
from crossfold.paper.reporting import materials, methods, outcomes


@dataclass(frozen=True)
class Statement:
    """Some sentences, and the files of the run that say so."""

    text: str
    sources: tuple[str, ...]


Maker = Callable[[Facts], str]

# The files of a run, by the names under which `gather_facts` was given them.
FILES = {
    "config": "config.json",
    "splits": "splits.csv",
    "metrics": "metrics.csv",
    "summary": "metrics_summary.csv",
    "dataset": "dataset.csv",
    "dataset_report": "dataset_report.csv",
    "plan": "statistics/plan.json",
    "comparisons": "statistics/comparisons.csv",
    "sensitivity": "statistics/sensitivity.csv",
    "by_reason": "outliers/by_reason.csv",
    "machines": "folds/<fold>/machine.json",
    "training": "folds/<fold>/training.csv",
}

MAKERS: Mapping[str, tuple[Maker, tuple[str, ...]]] = {
    "task": (methods.task, ("config",)),
    "design": (methods.design, ("splits",)),
    "data": (materials.data, ("config.yaml", "splits")),
    "licence": (materials.licence, ("config.yaml",)),
    "dates": (materials.dates, ("dataset",)),
    "centres": (materials.centres, ("splits",)),
    "checks": (materials.checks, ("dataset_report",)),
    "excluded": (materials.excluded, ("dataset_report",)),
    "preprocessing": (methods.preprocessing, ("config",)),
    "images": (materials.images, ("config", "metrics")),
    "structures": (materials.structures, ("config",)),
    "partitions": (materials.partitions, ("splits",)),
    "disjoint": (materials.disjoint, ("splits",)),
    "counts": (materials.counts, ("splits",)),
    "network": (methods.network, ("config",)),
    "initialisation": (methods.initialisation, ("config",)),
    "training": (methods.training, ("config",)),
    "imbalance": (methods.imbalance, ("config",)),
    "selection": (methods.selection, ("config",)),
    "ensemble": (methods.ensemble, ("config",)),
    "inference": (methods.inference, ("config",)),
    "output": (methods.output, ("config",)),
    "software": (methods.software, ("git", "machines")),
    "digests": (materials.digests, ("dataset", "splits")),
    "hardware": (methods.hardware, ("machines", "training")),
    "metrics": (methods.metrics, ("config", "metrics")),
    "missing": (methods.missing, ("metrics",)),
    "statistics": (methods.statistics, ("config.yaml", "plan")),
    "precision": (outcomes.precision, ("summary",)),
    "external": (outcomes.external, ("splits",)),
    "performance": (outcomes.performance, ("summary",)),
    "comparisons": (outcomes.comparisons, ("comparisons",)),
    "sensitivity": (outcomes.sensitivity, ("sensitivity",)),
    "failures": (outcomes.failures, ("summary", "by_reason")),
    "limitations": (outcomes.limitations, ("splits", "summary", "comparisons")),
}


def statements(facts: Facts) -> dict[str, Statement]:
    """Return all that can be said; what no file says is left out."""
    made = {}
    for key, (maker, sources) in MAKERS.items():
        if text := maker(facts):
            given = [name for name in sources if name in facts.given or name not in FILES]
            made[key] = Statement(text, tuple(FILES.get(name, name) for name in given))
    return made
