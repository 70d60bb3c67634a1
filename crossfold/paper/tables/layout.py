"""A table for a paper: one frame, and how its rows are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd


@dataclass(frozen=True)
class Cell:
    """Lines of plain text under one another, of which the first may be bold."""

    lines: tuple[str, ...]
    bold: bool = False

    @classmethod
    def of(cls, *lines: str, bold: bool = False) -> Cell:
        """Make a cell of its lines."""
        return cls(lines, bold)


@dataclass(frozen=True)
class Column:
    """A column as it is shown.

    Parameters
    ----------
    title
        Lines of the heading.
    share
        Width relative to the other columns.
    cell
        What is shown of a row of the frame, which `DataFrame.itertuples` gave.
    align
        Where the text stands.
    """

    title: tuple[str, ...]
    share: float
    cell: Callable[[Any], Cell | str]
    align: Literal["left", "centre"] = "centre"


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    label
        Key by which LaTeX refers to it.
    caption
        One or two sentences above the table.
    notes
        Sentences below it.
    frame
        Its numbers, one row for each row that is shown.
    columns
        What is shown.
    groups
        Columns of the frame, those that are shown first, whose value is shown once for all rows in
        turn that share it.
    if_empty
        What is said when there is no row.
    """

    label: str
    caption: str
    notes: tuple[str, ...]
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    groups: tuple[str, ...]
    if_empty: str

    def rows(self) -> Iterator[tuple[bool, list[Cell]]]:
        """Yield the rows as they are shown, and whether each begins a new group."""
        before: tuple[object, ...] = ()
        for row in self.frame.itertuples(index=False):
            group = tuple(getattr(row, name) for name in self.groups)
            cells = [_cell(column.cell(row)) for column in self.columns]
            for position in range(len(group)):
                if group[: position + 1] == before[: position + 1]:
                    cells[position] = Cell.of("")
            yield group[:1] != before[:1], cells
            before = group


def _cell(shown: Cell | str) -> Cell:
    return Cell.of(shown) if isinstance(shown, str) else shown
