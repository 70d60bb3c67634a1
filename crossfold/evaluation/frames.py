"""Reading tables that other steps wrote: names stay text, everything else becomes a number."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from crossfold.errors import CrossfoldError

# Columns in which `007`, `NA` or `1e5` is somebody's or something's name.
NAMES = frozenset(
    {
        *("model", "model_a", "model_b", "run", "run_a", "run_b", "runs", "label", "source"),
        *("dataset", "subject", "group", "group_a", "group_b", "institution", "series"),
        *("structure", "fold", "family_id", "comparison_id", "reason", "note", "partner"),
        *("file", "message", "remedy", "channel", "folds_agree"),
    }
)


def read_frame(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table in the conventions of `crossfold.evaluation.tables.write_table`.

    Parameters
    ----------
    path
        CSV file; `inf` is infinity, an empty cell a missing number or an empty text.

    Raises
    ------
    CrossfoldError
        If the file is not there, or not a table.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (FileNotFoundError, ValueError) as error:  # pandas' own errors derive from ValueError
        raise CrossfoldError(
            f"{os.fspath(path)}: not readable as a table ({error})",
            remedy="delete it and let Snakemake write it again",
        ) from error
    return frame.apply(_numbers_where_all_are)


def _numbers_where_all_are(column: pd.Series) -> pd.Series:
    if column.name in NAMES:
        return column
    if len(column) and column.isin(["True", "False"]).all():
        return column == "True"
    numbers = pd.to_numeric(column.replace("", np.nan), errors="coerce")
    return column if (numbers.isna() & (column != "")).any() else numbers
