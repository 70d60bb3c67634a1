"""Sentences that stand below several tables."""

from __future__ import annotations

from collections import Counter

from crossfold.paper.facts import Facts

_STATISTICS_PACKAGES = ("scipy", "statsmodels")


def subjects_note(facts: Facts) -> str:
    """Say who predicted whom."""
    test = " Test: the ensemble of the folds." if facts.splits.test else ""
    return f"Out of fold: each subject by the fold that was not trained on it.{test}"


def states_note() -> str:
    """Say how failures count."""
    return (
        "Failures (structure missed, or hallucinated) count with Dice and NSD 0 and an infinite "
        "distance; subjects in whom a structure is truly absent do not count."
    )


def tolerance_note(facts: Facts) -> str:
    """Say what NSD and HD95 are, and at which tolerance."""
    return (
        f"NSD: normalised surface Dice, tolerance {tolerances(facts)}{_other_tolerances(facts)}. "
        "HD95: larger of the two directed 95th percentiles of the surface distance."
    )


def tolerances(facts: Facts) -> str:
    """Say at which tolerance the NSD was measured: the usual one, and the exceptions."""
    named = {name: facts.tolerances_mm[name] for name in facts.structures}
    (usual, _), *others = Counter(named.values()).most_common()
    exceptions = [f"{name} {value:g} mm" for name, value in named.items() if value != usual]
    return f"{usual:g} mm" + (f" ({', '.join(exceptions)})" if others else "")


def _other_tolerances(facts: Facts) -> str:
    """Say in which runs the NSD was measured at another tolerance."""
    if facts.comparisons.empty:
        return ""
    differing = facts.comparisons[facts.comparisons["reason"].str.startswith("NSD at ")]
    runs = dict.fromkeys([*differing["run_a"], *differing["run_b"]])
    others = [run for run in runs if run != facts.run]
    return f" (not comparable: another tolerance in {', '.join(others)})" if others else ""


def software_note(facts: Facts) -> str:
    """Name the software."""
    versions = facts.software.versions
    used = [f"{name} {versions[name]}" for name in _STATISTICS_PACKAGES if name in versions]
    commit = f", commit {facts.software.commit[:10]}" if facts.software.commit else ""
    changed = " with changes" if facts.software.dirty else ""
    own = f"Crossfold {versions['crossfold']}{commit}{changed}"
    return f"Software: {', '.join([own, *used])}."
