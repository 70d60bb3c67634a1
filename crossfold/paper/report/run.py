"""What was run, as pairs of a heading and a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from crossfold.paper.facts import Facts


def what_was_run(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield what a reader has to know of a run before its numbers."""
    yield "Dataset", _dataset(facts)
    yield "Subjects", _subjects(facts)
    yield "Voxel size", _voxels(facts)
    yield "Structures", ", ".join(facts.structures)
    yield "Division", _division(facts)
    yield "Network", _network(facts)
    if facts.training.hardware:
        yield "Hardware", "; ".join(facts.training.hardware)
    yield "Time and energy", _cost(facts)
    yield "Code", _code(facts)
    if facts.dataset.images_digest:
        yield "Images", f"{facts.dataset.images_digest} (as DVC calls them)"
    if facts.dataset.digest:
        yield (
            "Tables",
            f"dataset.csv {facts.dataset.digest}, splits.csv {facts.splits.digest} (SHA-256)",
        )
    if facts.plan:
        yield "Plan", _plan(facts)


def plain(value: Any) -> str:
    """Write a value of the configuration."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def duration(seconds: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> duration(45), duration(600), duration(9000)
    ('45 s', '10 min', '2 h 30 min')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _dataset(facts: Facts) -> str:
    data = facts.dataset
    words = [data.name, data.description.rstrip(".")]
    if data.synthetic:
        words.append("synthetic, computed instead of taken from patients")
    if data.licence:
        words.append(f"licence {data.licence}")
    return "; ".join(filter(None, words))


def _subjects(facts: Facts) -> str:
    data = facts.dataset
    words = [f"{data.used} used"]
    if data.found is not None and data.found != data.used:
        words.insert(0, f"{data.found} found")
    if data.excluded:
        words.append(f"{len(data.excluded)} excluded by the checks")
    if data.groups < data.used:
        words.append(f"{data.groups} groups")
    institutions = [name for name in data.institutions if name]
    if institutions:
        words.append(f"{len(institutions)} institution{'s' if len(institutions) > 1 else ''}")
    if data.acquired:
        words.append(f"acquired {data.acquired[0]} to {data.acquired[1]}")
    return ", ".join(words)


def _voxels(facts: Facts) -> str:
    low, middle, high = (" × ".join(f"{side:.3g}" for side in sides) for sides in facts.spacing_mm)
    return f"{middle} mm" if low == high else f"median {middle} mm (from {low} to {high})"


def _division(facts: Facts) -> str:
    splits = facts.splits
    test = f"{splits.test} subjects kept for testing" if splits.test else "no test set"
    if splits.folds == 1:
        only = splits.by_fold[0]
        return f"{only['train']} trained on, {only['val']} validated, {test}"
    return f"{splits.folds} folds over {splits.development} subjects, {test}"


def _network(facts: Facts) -> str:
    training = facts.config["training"]
    network = str(facts.config["network"]["_target_"]).rpartition(".")[2]
    sides = training["patch_size"]
    patch = "" if isinstance(sides, str) else f", patches of {' × '.join(map(str, sides))} voxels"
    return f"{network}{patch}, {training['epochs']} epochs per fold"


def _cost(facts: Facts) -> str:
    training = facts.training
    if training.seconds_total is None:
        return "not recorded"
    folds = len(training.seconds)
    time = f"{duration(training.seconds_total)} of training"
    time += f", {duration(training.seconds_total / folds)} per fold" if folds > 1 else ""
    if training.energy_kwh is None:
        return f"{time}; energy not recorded"
    return f"{time}; {training.energy_kwh:.3g} kWh, with whatever ran beside it"


def _code(facts: Facts) -> str:
    software = facts.software
    commit = f"commit {software.commit[:10]}" if software.commit else "commit not known"
    changed = ", with uncommitted changes" if software.dirty else ""
    return f"Crossfold {software.versions['crossfold']}, {commit}{changed}"


def _plan(facts: Facts) -> str:
    plan = facts.plan or {}
    digest = str(plan.get("sha256", ""))[:16]
    when = "after the first results" if facts.planned_after_results else "before the first results"
    return f"statistics planned {when}, plan.json {digest}".rstrip()
