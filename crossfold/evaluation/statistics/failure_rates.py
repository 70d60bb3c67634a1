"""failure_rates.csv: how often structures were missed, run against run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.alignment import PRESENT, Side
from crossfold.evaluation.statistics.binary import compare_failures
from crossfold.evaluation.statistics.comparisons import Comparison
from crossfold.evaluation.statistics.verdicts import correct

FAILURE_COLUMNS = [
    *("family_id", "model_a", "model_b", "split", "design", "structure"),
    *("n", "n_a", "n_b", "missed_a", "missed_b", "risk_diff", "ci_low", "ci_high"),
    *("p_mcnemar", "correction", "m", "p_adjusted"),
    *("n_absent_a", "n_absent_b", "hallucinated_a", "hallucinated_b", "note"),
]


def failure_rates_table(
    comparisons: Sequence[Comparison], config: StatisticsConfig
) -> pd.DataFrame:
    """Compare how often two runs, or two members of a model, missed a structure.

    A patient counts as failed if a structure was missed in any of his scans. Subjects without the
    structure are too few for a test in most studies: in how many it was hallucinated is counted.
    p-values are corrected by Benjamini and Hochberg's method, runs and members apart.

    Returns
    -------
    DataFrame
        The columns `FAILURE_COLUMNS`; `missed_a` and `missed_b` are numbers of patients, among `n`
        paired ones, or among `n_a` and `n_b` different ones, for whom there is no test.
    """
    rows = [
        _failures(comparison, config)
        for comparison in comparisons
        if comparison.metric == "dice" and comparison.contest.family != "institutions"
    ]
    table = pd.DataFrame(rows, columns=FAILURE_COLUMNS)
    return table.assign(**correct(table["p_mcnemar"], table["family_id"]))


def _failures(comparison: Comparison, config: StatisticsConfig) -> dict[str, Any]:
    contest, aligned, structure = comparison.contest, comparison.aligned, comparison.structure
    row: dict[str, Any] = {
        "family_id": contest.family,
        "model_a": contest.a.label,
        "model_b": contest.b.label,
        "split": contest.split,
        "structure": structure,
        "p_mcnemar": np.nan,
    }
    if comparison.row["verdict"] in ("refused", "not_computed"):
        return row | {"note": comparison.row["reason"]}
    for letter, side in (("a", contest.a), ("b", contest.b)):
        absent, hallucinated = _absent(side, structure)
        row |= {f"n_absent_{letter}": absent, f"hallucinated_{letter}": hallucinated}
    failed_a, failed_b = (
        side["failed"].groupby(side["cluster"].to_numpy()).any().to_numpy()
        for side in (aligned.a, aligned.b)
    )
    row |= {
        "design": "paired" if aligned.paired else "unpaired",
        "n_a": len(failed_a),
        "n_b": len(failed_b),
        "missed_a": failed_a.sum(),
        "missed_b": failed_b.sum(),
    }
    if not aligned.paired:
        difference = failed_a.mean() - failed_b.mean()
        note = "different subjects: no McNemar test"
        return row | {"n": len(failed_a) + len(failed_b), "risk_diff": difference, "note": note}
    result = compare_failures(failed_a, failed_b, confidence=config.confidence)
    return row | {
        "n": result.n,
        "risk_diff": result.risk_difference,
        "p_mcnemar": result.p,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "note": result.note,
    }


def _absent(side: Side, structure: str) -> tuple[int, int]:
    """Subjects of a side whose reference lacks a structure, and in how many it was found."""
    states = side.rows.loc[side.rows["structure"] == structure, "state"]
    return int((~states.isin(PRESENT)).sum()), int((states == "hallucinated").sum())
