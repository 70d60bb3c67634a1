"""A metric by institution, of this run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.groups import Group, draw_groups, tabulate
from crossfold.paper.figures.results import result_rows

_MOST_INSTITUTIONS = 8


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for each structure and institution; subjects without one are left out.

    Of more than eight institutions, the smallest are drawn as one.

    Parameters
    ----------
    inputs
        `metrics`, or `compared`.
    context
        With the option `metric`; Dice without it.

    Raises
    ------
    EmptyFigure
        If fewer than two institutions are known.
    """
    metric = context.options.get("metric", "dice")
    rows = result_rows(inputs, context)
    rows = rows[(rows["run"] == context.run) & (rows["institution"] != "") & rows[metric].notna()]
    names = sorted(rows["institution"].unique())
    if len(names) < 2:
        known = (
            f"All subjects are from {names[0]}" if names else "No subject's institution is known"
        )
        raise EmptyFigure(f"{known}: there is nothing to compare.")
    if len(names) > _MOST_INSTITUTIONS:
        counts = rows.groupby("institution")["subject"].nunique().sort_values(kind="stable")
        small = counts.index[: len(names) - _MOST_INSTITUTIONS + 1]
        others = f"{len(small)} others"
        rows = rows.assign(
            institution=rows["institution"].mask(rows["institution"].isin(small), others)
        )
        names = [name for name in names if name not in small] + [others]
    table = tabulate(rows, "institution", metric)
    groups = [Group(name, *style.structure_style(name, names)) for name in names]
    structures = [name for name in context.structures if (rows["structure"] == name).any()]
    figure = draw_groups(
        table, groups, structures, metric=metric, correction="", config=context.config
    )
    return figure, table
