"""A metric by structure: all subjects of all runs, with failures and planned comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.groups import Group, draw_groups, tabulate
from crossfold.paper.figures.results import comparisons_of_runs, result_rows, with_hub


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw a row for each structure and run: box, points (and their density from 30 subjects on).

    Failures are crosses in a band of their own. Brackets join the runs of planned comparisons and
    carry the adjusted p and the effect; of all-against-all plans, only those of one run.

    Parameters
    ----------
    inputs
        `compared` and `comparisons`.
    context
        With the option `metric`.

    Raises
    ------
    EmptyFigure
        If no subject has a value.
    """
    metric = context.options["metric"]
    rows = result_rows(inputs, context)
    rows = rows[rows[metric].notna()]
    if rows.empty:
        raise EmptyFigure(f"No subject has a value of {style.axis_label(metric)}.")
    table = tabulate(rows, "run", metric)
    brackets = _brackets(inputs, context, rows)
    table = pd.concat([table, brackets.drop(columns="correction")], ignore_index=True)
    groups = [
        Group(run, style.colour_of(run, context), style.marker_of(run, context))
        for run in rows["run"].cat.categories
        if (rows["run"] == run).any()
    ]
    structures = [name for name in context.structures if (rows["structure"] == name).any()]
    correction = ", ".join(dict.fromkeys(brackets["correction"].str.capitalize()))
    figure = draw_groups(
        table,
        groups,
        structures,
        metric=metric,
        correction=correction,
        config=context.config,
    )
    return figure, table


def _brackets(inputs: Mapping[str, Any], context: Context, rows: pd.DataFrame) -> pd.DataFrame:
    """Return planned comparisons with the one run that most of them share, from its side."""
    empty = pd.DataFrame(
        columns=["kind", "structure", "group", "other_group", "p_adjusted", "effect", "correction"]
    )
    metric, split = context.options["metric"], rows["split"].iloc[0]
    found = comparisons_of_runs(inputs, context, metric=metric, split=split)
    found = found[(found["role"] == "confirmatory") & found["p_adjusted"].notna()]
    drawn = rows[["structure", "run"]].drop_duplicates().astype(str)
    for side in ("run_a", "run_b"):
        found = found.merge(drawn.rename(columns={"run": side}), on=["structure", side])
    if found.empty:
        return empty
    hub, found = with_hub(found, context)
    reverse = found["run_b"] == hub
    return pd.DataFrame(
        {
            "kind": "bracket",
            "structure": found["structure"],
            "group": hub,
            "other_group": found["run_a"].where(reverse, found["run_b"]),
            "p_adjusted": found["p_adjusted"],
            "effect": found["effect"].where(~reverse, -found["effect"]),
            "correction": found["correction"],
        }
    )
