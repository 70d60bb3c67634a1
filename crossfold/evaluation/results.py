"""Which rows of a table of metrics are the result of a run."""

import pandas as pd


def result_rows(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    """Rows of one run in which each subject and structure occurs once.

    On `val` they are those of all folds: each subject was predicted by the one fold that had not
    seen it. On `test` they are the ensemble's, or those of the only model that there is; several
    folds without an ensemble have no result on `test`.

    Parameters
    ----------
    rows
        Columns split and fold; fold is empty in tables that know none.
    split
        val or test.
    """
    of_split = rows[rows["split"] == split]
    folds = set(of_split["fold"])
    if split == "val" or len(folds) <= 1:
        return of_split
    return of_split[of_split["fold"] == "ensemble"]
