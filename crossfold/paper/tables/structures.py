"""Volumes and components of the structures, and how well volumes agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from crossfold.paper.facts import Facts
from crossfold.paper.tables.layout import Cell, Column, Table
from crossfold.paper.tables.notes import software_note
from crossfold.paper.tables.numbers import (
    NO_BREAK,
    NOTHING,
    confidence_in_percent,
    decimals_of,
    in_lines,
    number,
    share,
    with_quartiles,
)

_QUARTILES = {"median": 0.5, "q1": 0.25, "q3": 0.75}
_AGREEMENT = (
    *("bias_ml", "bias_ci_low", "bias_ci_high"),
    *("loa_low_ml", "loa_low_ci_low", "loa_low_ci_high"),
    *("loa_high_ml", "loa_high_ci_low", "loa_high_ci_high"),
    *("slope", "slope_p"),
)
_COLUMNS = [
    *("structure", "split", "n"),
    *(f"volume_{who}_{name}_ml" for who in ("ref", "pred") for name in _QUARTILES),
    *("n_more_components", "n_fewer_components", "n_agreement", *_AGREEMENT, "scale"),
]


def table(facts: Facts, metrics: pd.DataFrame, bland_altman: pd.DataFrame) -> Table:
    """Lay out volumes, their agreement and components, for the split of the headline.

    Parameters
    ----------
    facts
        What is known of the run.
    metrics
        metrics.csv.
    bland_altman
        bland_altman.csv, or an empty frame.
    """
    fold = metrics["fold"] == "ensemble" if facts.split == "test" else True
    rows = metrics[(metrics["split"] == facts.split) & fold]
    frame = pd.DataFrame(_rows(facts, rows, bland_altman), columns=_COLUMNS)
    interval = f"({confidence_in_percent(facts.statistics.confidence)} CI)"
    return Table(
        label=f"tab:{facts.run}:structures",
        caption=f"Volumes and components of the structures, {facts.split_in_words}.",
        notes=tuple(_notes(facts, frame)),
        frame=frame,
        columns=(
            Column(("Structure",), 15, lambda row: row.structure, "left"),
            Column(("n",), 6, lambda row: str(row.n)),
            Column(("Volume (ml)", "reference", "prediction"), 22, _volumes),
            Column(("Bias (ml)", interval), 18, _bias),
            Column(("Limits of agreement", "(ml)"), 20, _limits),
            Column(("Components", "more", "fewer"), 14, _components),
        ),
        groups=("structure",),
        if_empty="No structure was measured.",
    )


def _rows(
    facts: Facts, metrics: pd.DataFrame, bland_altman: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    for structure in facts.structures:
        rows = metrics[metrics["structure"] == structure]
        present = rows[rows["state"] != "true_absent"]
        ok = rows[rows["state"] == "ok"]
        yield {
            "structure": structure,
            "split": facts.split,
            "n": len(present),
            **{
                f"volume_{who}_{name}_ml": present[f"volume_{who}_ml"].quantile(level)
                for who in ("ref", "pred")
                for name, level in _QUARTILES.items()
            },
            "n_more_components": int((ok["n_components_pred"] > ok["n_components_ref"]).sum()),
            "n_fewer_components": int((ok["n_components_pred"] < ok["n_components_ref"]).sum()),
            **_agreement(facts, structure, bland_altman),
        }


def _agreement(facts: Facts, structure: str, bland_altman: pd.DataFrame) -> dict[str, Any]:
    """Find what bland_altman.csv says of a structure."""
    found = dict.fromkeys(("n_agreement", *_AGREEMENT), np.nan) | {"scale": ""}
    if bland_altman.empty:
        return found
    rows = bland_altman[bland_altman["structure"] == structure]
    for name, value in (("model", facts.run), ("split", facts.split)):
        if name in rows:
            rows = rows[rows[name] == value]
    if rows.empty:
        return found
    row = rows.iloc[0]
    return (
        found
        | {name: row[name] for name in (*_AGREEMENT, "scale") if name in row}
        | {"n_agreement": row["n"]}
    )


def _volumes(row: Any) -> Cell:
    decimals = decimals_of([row.volume_ref_q3_ml - row.volume_ref_q1_ml], 1)
    reference = row.volume_ref_median_ml, row.volume_ref_q1_ml, row.volume_ref_q3_ml
    prediction = row.volume_pred_median_ml, row.volume_pred_q1_ml, row.volume_pred_q3_ml
    return Cell.of(with_quartiles(*reference, decimals), with_quartiles(*prediction, decimals))


def _bias(row: Any) -> Cell:
    decimals, sign = _decimals(row)
    first, *interval = in_lines(row.bias_ml, row.bias_ci_low, row.bias_ci_high, decimals)
    return Cell.of(sign + first, *interval)


def _limits(row: Any) -> str:
    if np.isnan(row.loa_low_ml):
        return NOTHING
    decimals, sign = _decimals(row)
    return f"{sign}{number(row.loa_low_ml, decimals)} to {sign}{number(row.loa_high_ml, decimals)}"


def _decimals(row: Any) -> tuple[int, str]:
    """Return how many decimals agreement deserves, and what stands before a ratio."""
    is_ratio = row.scale == "log"
    decimals = decimals_of([row.bias_ci_high - row.bias_ci_low], 2 if is_ratio else 1)
    return decimals, f"×{NO_BREAK}" if is_ratio else ""


def _components(row: Any) -> Cell:
    return Cell.of(share(row.n_more_components, row.n), share(row.n_fewer_components, row.n))


def _notes(facts: Facts, frame: pd.DataFrame) -> Iterator[str]:
    yield (
        "Volumes: median [first quartile, third quartile]. Bias: mean difference of predicted and "
        "reference volume, with the limits within which 95 % of the differences lie (Bland and "
        "Altman 1999)."
    )
    if (frame["scale"] == "log").any():
        yield (
            "×: ratios of predicted to reference volume, where differences grow with the volume."
        )
    yield (
        "Components: share of subjects in whom the prediction has more, or fewer, connected "
        "components than the reference."
    )
    yield software_note(facts)
