"""Tables as text of fixed width, for readers at a terminal."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd


def fixed_width(table: pd.DataFrame, *, left: Collection[str] = ()) -> str:
    """Lay out a table of text with aligned columns and two spaces between them.

    Parameters
    ----------
    table
        Cells as text, as they shall appear.
    left
        Columns that are aligned to the left, such as names; all others are aligned to the right.

    Examples
    --------
    >>> print(fixed_width(pd.DataFrame({"Name": ["rectum"], "N": ["12"]}), left=["Name"]))
    Name     N
    rectum  12
    """
    columns = []
    for name in table.columns:
        cells = [name, *table[name]]
        width = max(map(len, cells))
        columns.append([f"{cell:{'<' if name in left else '>'}{width}}" for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
