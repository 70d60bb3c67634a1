"""How often structures are missed or hallucinated, and whether other runs fail less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from crossfold.paper.facts import Facts
from crossfold.paper.tables.layout import Cell, Column, Table
from crossfold.paper.tables.main import RESULTS, who_column
from crossfold.paper.tables.notes import software_note, subjects_note
from crossfold.paper.tables.numbers import (
    NO_BREAK,
    NOTHING,
    confidence_in_percent,
    in_lines,
    p_value,
)

_COLUMNS = [
    *("structure", "result", "run", "split"),
    *("n_present", "n_missed", "rate", "rate_ci_low", "rate_ci_high"),
    *("n_not_present", "n_hallucinated"),
    *("risk_diff", "ci_low", "ci_high", "p_mcnemar", "p_adjusted"),
]


def table(facts: Facts, compared: pd.DataFrame, failure_rates: pd.DataFrame) -> Table:
    """Lay out failures of the run in all its results, and of the compared runs in the headline's.

    Parameters
    ----------
    facts
        What is known of the run.
    compared, failure_rates
        compared.csv and failure_rates.csv, or empty frames.
    """
    rows = [*_own(facts), *_others(facts, compared, failure_rates)]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    order = {name: position for position, name in enumerate(facts.structures)}
    frame = frame[frame["structure"].isin(order)].sort_values(
        "structure", key=lambda column: column.map(order), kind="stable", ignore_index=True
    )
    interval = f"({confidence_in_percent(facts.statistics.confidence)} CI)"
    columns = [
        Column(("Structure",), 17, lambda row: row.structure, "left"),
        who_column(facts, frame, 15),
        Column(("Missed", "of present"), 13, lambda row: _of(row.n_missed, row.n_present)),
        Column(("Missed", interval), 15, lambda row: _percent(row.rate, row, "rate_ci_")),
        Column(
            ("Hallucinated", "of absent"),
            14,
            lambda row: _of(row.n_hallucinated, row.n_not_present),
        ),
    ]
    if frame["risk_diff"].notna().any():
        alpha = facts.statistics.alpha
        columns += [
            Column(("Difference", interval), 17, lambda row: _percent(row.risk_diff, row, "ci_")),
            Column(("p", "(adj.)"), 8, lambda row: p_value(row.p_adjusted, alpha)),
        ]
    return Table(
        label=f"tab:{facts.run}:failures",
        caption=f"Structures that {facts.run} missed or hallucinated.",
        notes=tuple(_notes(facts, frame)),
        frame=frame,
        columns=tuple(columns),
        groups=("structure",),
        if_empty="No structure was measured.",
    )


def _own(facts: Facts) -> Iterator[dict[str, Any]]:
    for split in RESULTS:
        for result in facts.of_split(split):
            if result.metric != "dice":
                continue
            present = result.n - result.n_hallucinated
            about = {"structure": result.structure, "result": RESULTS[split], "run": facts.run}
            absent = (result.n_absent + result.n_hallucinated, result.n_hallucinated)
            yield about | {"split": split} | _counts(present, result.n_missed, absent, facts)


def _others(
    facts: Facts, compared: pd.DataFrame, failure_rates: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    if compared.empty:
        return
    rows = compared[(compared["run"] != facts.run) & (compared["split"] == facts.split)]
    rows = rows[(rows["split"] == "val") | rows["fold"].isin(["ensemble", ""])]
    for (run, structure), group in rows.groupby(["run", "structure"], sort=False, observed=True):
        subjects = group.groupby("state")["subject"].nunique()
        ok, missed, absent, hallucinated = (
            int(subjects.get(state, 0)) for state in ("ok", "missed", "true_absent", "hallucinated")
        )
        about = {
            "structure": structure,
            "result": RESULTS[facts.split],
            "run": run,
            "split": facts.split,
        }
        counts = _counts(ok + missed, missed, (absent + hallucinated, hallucinated), facts)
        difference = _difference(facts, str(run), str(structure), failure_rates)
        yield about | {"split": facts.split} | counts | difference


def _counts(present: int, missed: int, absent: tuple[int, int], facts: Facts) -> dict[str, float]:
    """Return the counts, and the share of misses with its interval (Clopper and Pearson 1934)."""
    rate = low = high = np.nan
    if present:
        alpha = 1 - facts.statistics.confidence
        low, high = proportion_confint(missed, present, alpha=alpha, method="beta")
        rate = missed / present
    return {
        "n_present": present,
        "n_missed": missed,
        "rate": rate,
        "rate_ci_low": float(low),
        "rate_ci_high": float(high),
        "n_not_present": absent[0],
        "n_hallucinated": absent[1],
    }


def _difference(
    facts: Facts, run: str, structure: str, failure_rates: pd.DataFrame
) -> dict[str, float]:
    """Find how the failures of the run differ from those of another one."""
    names = ("risk_diff", "ci_low", "ci_high", "p_mcnemar", "p_adjusted")
    if failure_rates.empty:
        return dict.fromkeys(names, np.nan)
    rows = failure_rates[
        (failure_rates["model_a"] == facts.run)
        & (failure_rates["model_b"] == run)
        & (failure_rates["structure"] == structure)
        & (failure_rates["split"] == facts.split)
    ]
    return {name: float(rows[name].iloc[0]) if len(rows) else np.nan for name in names}


def _percent(part: float, row: Any, prefix: str) -> Cell:
    if np.isnan(part):
        return Cell.of(NOTHING)
    bounds = (100 * getattr(row, f"{prefix}low"), 100 * getattr(row, f"{prefix}high"))
    first, *interval = in_lines(100 * part, *bounds, 1)
    return Cell.of(f"{first}{NO_BREAK}%", *interval)


def _hallucinated(row: Any) -> str:
    return _of(row.n_hallucinated, row.n_not_present)


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def _notes(facts: Facts, frame: pd.DataFrame) -> Iterator[str]:
    yield (
        "Missed: in the reference, not in the prediction; share with its exact binomial interval. "
        "Hallucinated: in the prediction, not in the reference."
    )
    if frame["risk_diff"].notna().any():
        yield (
            f"Difference: share of misses of {facts.run} less that of the other run in the same "
            "subjects, with Tango's score interval; exact McNemar test, p adjusted after Benjamini "
            "and Hochberg."
        )
    yield subjects_note(facts)
    yield software_note(facts)
