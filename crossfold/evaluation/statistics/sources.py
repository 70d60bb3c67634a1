"""Tables of metrics as other people wrote them, brought into one form.

A table is Crossfold's own `metrics.csv`, or InnerEye's
`Patient,Structure,Dice,HausdorffDistance_mm,MeanDistance_mm`. InnerEye wrote Dice as a fraction
into its files and as a percentage into the tables of its reports: where any Dice of a table is
above 1, all of them are taken for percentages. It measured nothing but three of our metrics, to
three decimals. A Dice of 0 with an infinite distance was a structure missed or hallucinated, it did
not say which, and is read as missed.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossfold.config.base import nearest
from crossfold.data.dataset import Dataset
from crossfold.errors import CrossfoldError

OVERLAPS = ("dice", "iou", "nsd")
DISTANCES = ("hd_mm", "hd95_mm", "assd_mm")
_ABOUT_SUBJECT = ("subject", "group", "institution", "series")
TEXTS = ("model", "split", "fold", *_ABOUT_SUBJECT, "structure", "state")
NUMBERS = ("seed", *OVERLAPS, *DISTANCES, "volume_ref_ml", "volume_pred_ml", "nsd_tolerance_mm")
STATES = ("ok", "missed", "hallucinated", "true_absent")
ROLES_COLUMNS = ["subject", "group", "institution", "fold", "role"]
ROLES = ("train", "val", "test")

INNEREYE_NOTE = (
    "InnerEye's metrics: three decimals; its surface distances are not computed as Crossfold's; "
    "missed and hallucinated structures cannot be told apart and count as missed"
)
_INNEREYE = {
    "Patient": "subject",
    "Structure": "structure",
    "Dice": "dice",
    "HausdorffDistance_mm": "hd_mm",
    "MeanDistance_mm": "assd_mm",
}


def parse_metrics(text: str, source: str, split: str = "test") -> pd.DataFrame:
    """Parse a table of metrics and check every cell.

    Parameters
    ----------
    text
        Content of the file.
    source
        Name of the file, for messages.
    split
        What an InnerEye table is about, which its file does not say: val or test.

    Returns
    -------
    DataFrame
        The columns `TEXTS` and `NUMBERS`, one row per split, fold, subject and structure. A column
        that the file lacks is empty; `state` is derived where the file has none.

    Raises
    ------
    CrossfoldError
        If a column, subject or structure is missing, a row occurs twice, or a number contradicts
        the state of its row; the message names the file and the line.
    """
    table = _parse_text(text, source)
    innereye = is_innereye(table.columns)
    if innereye:
        _require(table, _INNEREYE, source)
        table = table.rename(columns=_INNEREYE).assign(split=split)
    _require(table, ("subject", "structure", "dice"), source)
    frame = table.reindex(columns=TEXTS, fill_value="")
    for name in NUMBERS:
        frame[name] = _numbers(table, name, source)
    for name in ("subject", "structure"):
        _refuse(frame, frame[name] == "", source, f"{name} is empty", "fill it in")
    frame["split"] = frame["split"].where(frame["split"] != "", split)
    _refuse_unknown(frame, "split", ("val", "test"), source)
    if innereye and (frame["dice"] > 1).any():
        frame["dice"] /= 100
    frame["state"] = frame["state"].where(frame["state"] != "", _derived_states(frame))
    _refuse_unknown(frame, "state", STATES, source)
    _refuse_contradictions(frame, source)
    _refuse_duplicates(frame, source)
    return frame.reset_index(drop=True)


def parse_roles(text: str, source: str) -> pd.DataFrame:
    """Parse a splits.csv: who was trained on in which fold.

    Returns
    -------
    DataFrame
        Text: subject, group (the subject, where empty), institution, fold, role.

    Raises
    ------
    CrossfoldError
        If a column is missing, or a role unknown.
    """
    table = _parse_text(text, source)
    _require(table, ("subject", "fold", "role"), source)
    roles = table.reindex(columns=ROLES_COLUMNS, fill_value="")
    _refuse_unknown(roles, "role", ROLES, source)
    roles["group"] = roles["group"].where(roles["group"] != "", roles["subject"])
    return roles.reset_index(drop=True)


def is_innereye(columns: Collection[str]) -> bool:
    """Say whether these are the columns of an InnerEye table."""
    return "Patient" in columns and "subject" not in columns


def add_dataset(frame: pd.DataFrame, dataset: Path, source: str) -> pd.DataFrame:
    """Fill group, series and institution of a table from the dataset.csv it was made with.

    Raises
    ------
    CrossfoldError
        If dataset.csv does not know a subject of the table.
    """
    about = Dataset.read(dataset).metadata.set_index("subject")
    unknown = set(frame["subject"]) - set(about.index)
    if unknown:
        raise CrossfoldError(
            f"{dataset}: no row for {listed(unknown)} of {source}",
            remedy="name the dataset.csv that the table was made with",
        )
    known = {name: frame["subject"].map(about[name]) for name in ("group", "institution", "series")}
    return frame.assign(**known)


def listed(names: Collection[str], most: int = 10) -> str:
    """Join names, sorted; of many, the first and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def _parse_text(text: str, source: str) -> pd.DataFrame:
    """All cells as text; the index is the line in the file."""
    try:
        table = pd.read_csv(
            io.StringIO(text.removeprefix("\ufeff")), dtype=str, keep_default_na=False
        )
    except ValueError as error:  # pandas' own errors derive from it
        raise CrossfoldError(
            f"{source}: not readable as CSV ({error})", remedy="save it as comma-separated text"
        ) from error
    if table.empty:
        raise CrossfoldError(f"{source}: the table has no rows", remedy="write it again")
    if len(table.columns) == 1 and ";" in table.columns[0]:
        raise CrossfoldError(
            f"{source}: its columns are separated by semicolons",
            remedy="save it as comma-separated text, with a point in decimal numbers",
        )
    table.index = pd.RangeIndex(2, 2 + len(table))
    return table.map(str.strip)


def _require(table: pd.DataFrame, names: Collection[str], source: str) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise CrossfoldError(
            f"{source}: no column {', '.join(missing)} (found: {', '.join(table.columns)})",
            remedy="name a metrics.csv by Crossfold or InnerEye, or a splits.csv beside it",
        )


def _numbers(table: pd.DataFrame, name: str, source: str) -> pd.Series[float]:
    """A column as numbers; empty cells, and a column that is not there, are NaN."""
    if name not in table:
        return pd.Series(np.nan, index=table.index)
    numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
    empty = table[name].str.lower().isin(["", "nan"])
    wrong = numbers.isna() & ~empty
    if wrong.any():
        problem = f"{name} is `{table.loc[wrong, name].iloc[0]}`, which is not a number"
        _refuse(table, wrong, source, problem, "correct it, or leave it empty")
    return numbers


def _derived_states(frame: pd.DataFrame) -> NDArray:
    """States by Dice and distances, of a table that does not tell them."""
    distances = frame[list(DISTANCES)]
    nothing = frame["dice"].isna() & distances.isna().all(axis=1)
    nowhere = (frame["dice"] == 0) & (distances == np.inf).any(axis=1)
    return np.select([nothing, nowhere], ["true_absent", "missed"], "ok")


def _refuse_contradictions(frame: pd.DataFrame, source: str) -> None:
    """Refuse numbers that the state of their row does not allow."""
    others = [name for name in (*OVERLAPS, *DISTANCES) if frame[name].notna().any()]
    measured = dict.fromkeys(["dice", *others])
    for name in measured:
        overlap = name in OVERLAPS
        values = frame[name]
        most = 1 if overlap else np.finfo(float).max
        failed = frame["state"].isin(["missed", "hallucinated"])
        allowed = np.select(
            [frame["state"] == "true_absent", failed],
            [values.isna(), values == (0 if overlap else np.inf)],
            values.between(0, most),
        ).astype(bool)
        line = frame.index[~allowed]
        if len(line):
            row = frame.loc[line[0]]
            value = "empty" if np.isnan(row[name]) else f"{row[name]:g}"
            raise CrossfoldError(
                f"{source}, line {line[0]}: {name} is {value} for {row['structure']} of "
                f"{row['subject']}, whose state is {row['state']}",
                remedy="measure it again; an overlap lies in 0..1 and a distance is a finite "
                "number, but 0 and inf where the structure was missed, and both are empty where "
                "it is absent from reference and prediction",
            )


def _refuse_duplicates(frame: pd.DataFrame, source: str) -> None:
    """Refuse a second row for a subject and structure: as nobody knows which one counts."""
    fold = frame["fold"].where(frame["split"] == "test", "")
    keys = frame[["split", "subject", "structure"]].assign(fold=fold)
    repeated = frame[keys.duplicated()]
    if not repeated.empty:
        row = repeated.iloc[0]
        place = f"{row['split']}, fold {row['fold']}" if row["fold"] else row["split"]
        raise CrossfoldError(
            f"{source}, line {repeated.index[0]}: another row for {row['structure']} of "
            f"{row['subject']} ({place}; {len(repeated)} such rows)",
            remedy="keep one row per subject and structure: one seed, one series",
        )


def _refuse_unknown(frame: pd.DataFrame, name: str, known: Collection[str], source: str) -> None:
    unknown = ~frame[name].isin(list(known))
    if unknown.any():
        cell = frame.loc[unknown, name].iloc[0]
        _refuse(frame, unknown, source, f"{name} is `{cell}`", nearest(cell, known))


def _refuse(
    table: pd.DataFrame, wrong: pd.Series[bool], source: str, problem: str, remedy: str
) -> None:
    if wrong.any():
        raise CrossfoldError(f"{source}, line {table.index[wrong][0]}: {problem}", remedy=remedy)
