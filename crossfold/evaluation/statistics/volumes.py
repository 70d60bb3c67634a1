"""bland_altman.csv: volumes of predictions against those of their references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.agreement import bland_altman
from crossfold.evaluation.statistics.alignment import PRESENT, units_of
from crossfold.evaluation.statistics.leaks import refusal
from crossfold.evaluation.statistics.runs import Run, results_of

_IN_ML = {name: f"{name}_ml" for name in ("bias", "loa_low", "loa_high")}
BLAND_ALTMAN_COLUMNS = [
    *("model", "split", "structure", "n"),
    *("bias_ml", "bias_ci_low", "bias_ci_high"),
    *("loa_low_ml", "loa_low_ci_low", "loa_low_ci_high"),
    *("loa_high_ml", "loa_high_ci_low", "loa_high_ci_high"),
    *("slope", "slope_p", "scale", "n_missed", "note"),
]


def bland_altman_table(
    runs: Sequence[Run],
    compared: pd.DataFrame,
    leaks: pd.DataFrame,
    structures: Sequence[str],
    config: StatisticsConfig,
) -> pd.DataFrame:
    """Bias and 95 % limits of agreement of the volumes, per run and structure.

    Missed structures count, with a volume of 0. On the log scale, where differences grow with the
    volume, bias and limits are ratios (prediction / reference) and not ml. Scans of a patient are
    averaged.

    Returns
    -------
    DataFrame
        The columns `BLAND_ALTMAN_COLUMNS`.
    """
    table = []
    for run in runs:
        rows = results_of(compared, run.label, config.primary_split)
        refused = refusal(leaks, run.label, rows)
        for structure in structures:
            present = rows[(rows["structure"] == structure) & rows["state"].isin(PRESENT)]
            row: dict[str, Any] = {
                "model": run.label,
                "split": config.primary_split,
                "structure": structure,
            }
            if refused or present.empty or present["volume_pred_ml"].isna().all():
                reason = refused or f"no volumes of {structure} on {config.primary_split}"
                table.append(row | {"n": 0, "note": reason})
                continue
            units = units_of(present, "aggregate")
            result = bland_altman(
                units["volume_ref_ml"].to_numpy(float),
                units["volume_pred_ml"].to_numpy(float),
                confidence=config.confidence,
                scale="auto",
            )
            estimates = {_IN_ML.get(name, name): value for name, value in asdict(result).items()}
            table.append(row | estimates | {"n_missed": units["failed"].sum()})
    return pd.DataFrame(table, columns=BLAND_ALTMAN_COLUMNS)
