"""dataset.csv: one row per subject and channel, and the images behind the rows."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import pandas as pd

from crossfold.config.base import nearest
from crossfold.errors import CrossfoldError
from crossfold.images import Image, atomic_path, read_image, read_labels

REQUIRED_COLUMNS = ("subject", "channel", "filePath")
OPTIONAL_COLUMNS = (
    "label",
    "volume",
    "group",
    "institutionId",
    "seriesId",
    "acquisition_date",
    "tags",
)
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

# InnerEye's code and its documentation disagree on the spelling.
_ALIASES = {"seriesID": "seriesId"}

Row = dict[str, str]


def label_values(text: str) -> tuple[int, ...]:
    """Values in the label map that make up a structure.

    Examples
    --------
    >>> label_values("1+2")
    (1, 2)
    >>> label_values("")
    ()
    """
    return tuple(int(value) for value in text.split("+")) if text else ()


def structure_mask(labels: np.ndarray, label: str) -> np.ndarray:
    """Voxels of one structure in its file.

    Parameters
    ----------
    labels
        Integer array (x, y, z): a multi-label map or a binary mask.
    label
        The column `label` of the structure's row; empty for a binary mask.

    Returns
    -------
    numpy.ndarray
        bool array (x, y, z).
    """
    # One comparison per value keeps the order of the axes; np.isin takes ten times longer.
    masks = [labels == value for value in label_values(label)] if label else [labels != 0]
    return reduce(np.logical_or, masks)


def read_table(path: Path) -> pd.DataFrame:
    """Read dataset.csv as text and check its columns and cells.

    Returns
    -------
    pandas.DataFrame
        Every column of `COLUMNS`, empty where the file has none, then the file's own.

    Raises
    ------
    CrossfoldError
        If the file, a column or a cell is missing or malformed. Subjects without a channel or
        with two rows for it are left to the validation, which reports them all.
    """
    if not path.is_file():
        raise CrossfoldError(f"{path}: no such file", remedy="import the dataset first")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ValueError as error:  # pandas' own errors and UnicodeDecodeError derive from it
        raise CrossfoldError(
            f"{path}: not readable as CSV ({error})", remedy="save it as comma-separated UTF-8 text"
        ) from error
    table = table.rename(columns=_ALIASES)
    _check_columns(path, table)
    own = [column for column in table.columns if column not in COLUMNS]
    table = table.reindex(columns=[*COLUMNS, *own], fill_value="")
    _check_cells(path, table)
    return table


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Rows of a table of text, as mappings from column to cell."""
    return [dict(zip(table.columns, cells, strict=True)) for cells in table.to_numpy()]


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write dataset.csv, whole or not at all; known columns first, unused ones left out."""
    known = [column for column in COLUMNS if column in table]
    known = [name for name in known if name in REQUIRED_COLUMNS or (table[name] != "").any()]
    own = [column for column in table.columns if column not in COLUMNS]
    with atomic_path(path) as temporary:
        table[[*known, *own]].to_csv(temporary, index=False, lineterminator="\n")


def _check_columns(path: Path, table: pd.DataFrame) -> None:
    """Refuse missing columns, and columns that look like a misspelt one."""
    found = list(table.columns)
    by_lower_case = {name.lower(): name for name in found if name not in COLUMNS}
    problems = []
    for column in COLUMNS:
        if column in found:
            continue
        near = difflib.get_close_matches(column.lower(), by_lower_case, n=1, cutoff=0.85)
        if near:
            problems.append(f"column `{by_lower_case[near[0]]}` should be called `{column}`")
        elif column in REQUIRED_COLUMNS:
            problems.append(f"column `{column}` is missing")
    if problems:
        raise CrossfoldError(
            f"{path}: {'; '.join(problems)} (found: {', '.join(found)})",
            remedy=f"the header needs {','.join(REQUIRED_COLUMNS)}, separated by commas",
        )


def _check_cells(path: Path, table: pd.DataFrame) -> None:
    """Refuse empty required cells, and labels and volumes that are not numbers."""
    whole_cell = dict.fromkeys(REQUIRED_COLUMNS, r".*\S.*")
    whole_cell |= {"label": r"([1-9]\d*(\+[1-9]\d*)*)?", "volume": r"\d*"}
    problems = [
        f"line {position + 2}: {column} is `{table[column].iloc[position]}`"
        for column, pattern in whole_cell.items()
        for position in np.flatnonzero(~table[column].str.fullmatch(pattern))
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CrossfoldError(
            f"{path}: {'; '.join(problems[:5])}{more}",
            remedy="fill subject, channel and filePath; label is empty, 3 or 1+2; volume is "
            "empty or counts from 0",
        )


@dataclass(frozen=True)
class Dataset:
    """Images and contours of a dataset.

    Parameters
    ----------
    folder
        Folder of dataset.csv, to which `filePath` is relative.
    table
        Rows of dataset.csv, all text.
    """

    folder: Path
    table: pd.DataFrame

    @classmethod
    def read(cls, path: str | Path) -> Dataset:
        """Read dataset.csv; the images are read when they are asked for.

        Raises
        ------
        CrossfoldError
            If the file, a column or a cell is missing or malformed.
        """
        path = Path(path)
        return cls(path.parent, read_table(path))

    @property
    def subjects(self) -> list[str]:
        """Subjects in the order of the file."""
        return list(dict.fromkeys(self.table["subject"]))

    @cached_property
    def metadata(self) -> pd.DataFrame:
        """One row per subject: subject, group, institution, series.

        A value is kept where the subject's rows agree on it, else it is empty. A subject without
        a group is a group of its own.
        """
        source = {"group": "group", "institution": "institutionId", "series": "seriesId"}
        by_subject = self.table.groupby("subject", sort=False)
        metadata = pd.DataFrame(
            {name: by_subject[column].agg(_agreed_value) for name, column in source.items()}
        ).reset_index()
        metadata["group"] = metadata["group"].where(metadata["group"] != "", metadata["subject"])
        return metadata

    def image(self, subject: str, channel: str) -> Image:
        """Read one image channel as float32 (x, y, z).

        Raises
        ------
        CrossfoldError
            If the subject has no row or two rows for the channel, or the file is unreadable.
        """
        row = self._row(subject, channel)
        volume = int(row["volume"]) if row["volume"] else None
        return read_image(self.folder / row["filePath"], volume)

    def path(self, subject: str, channel: str) -> Path:
        """File of one channel of a subject."""
        return self.folder / self._row(subject, channel)["filePath"]

    def label_map(self, subject: str, structures: Sequence[str]) -> Image:
        """Merge the subject's structures into one map; each file is read once.

        Parameters
        ----------
        subject
            Name of the subject.
        structures
            Names of the structures. The first gets the value 1, the second 2, and so on; 0 is
            background. Where structures overlap, the later one keeps the voxel.

        Returns
        -------
        Image
            uint8 array (x, y, z), or uint16 for more than 255 structures.

        Raises
        ------
        CrossfoldError
            If a row or file is missing or unreadable, or two files differ in shape.
        """
        rows = [self._row(subject, structure) for structure in structures]
        names = dict.fromkeys(row["filePath"] for row in rows)
        files = {name: read_labels(self.folder / name) for name in names}
        first = files[rows[0]["filePath"]]
        kind = np.uint8 if len(rows) <= 255 else np.uint16
        merged = np.zeros(first.array.shape, kind, order="F")  # as NIfTI files are
        for value, row in enumerate(rows, start=1):
            labels = files[row["filePath"]].array
            if labels.shape != merged.shape:
                raise CrossfoldError(
                    f"{self.folder / row['filePath']}: shape {labels.shape}, but "
                    f"{rows[0]['filePath']} has {merged.shape}",
                    remedy=f"resample the files of subject {subject} to one grid",
                )
            merged[structure_mask(labels, row["label"])] = value
        return Image(merged, first.affine, first.header)

    @cached_property
    def _rows(self) -> dict[tuple[str, str], list[Row]]:
        rows: dict[tuple[str, str], list[Row]] = {}
        for row in rows_of(self.table):
            rows.setdefault((row["subject"], row["channel"]), []).append(row)
        return rows

    def _row(self, subject: str, channel: str) -> Row:
        rows = self._rows.get((subject, channel), [])
        if len(rows) == 1:
            return rows[0]
        count = f"has {len(rows)} rows for" if rows else "has no row for"
        raise CrossfoldError(
            f"{self.folder / 'dataset.csv'}: subject `{subject}` {count} the channel `{channel}`",
            remedy="keep one of them" if rows else nearest(channel, self.table["channel"].unique()),
        )


def _agreed_value(values: pd.Series) -> str:
    distinct = set(values) - {""}
    return distinct.pop() if len(distinct) == 1 else ""
