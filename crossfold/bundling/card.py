"""The model card of a bundle."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import jinja2

from crossfold.learning.checkpoints import NetworkCard
from crossfold.prediction.bundle import Bundle

_METRICS = ("dice", "nsd", "hd95_mm")
_SPLITS = {"val": "out of fold", "test": "ensemble, test set"}


def model_card(bundle: Bundle, card: NetworkCard, *, synthetic: bool) -> str:
    """Return docs/README.md.

    Parameters
    ----------
    bundle
        The model.
    card
        Of its network.
    synthetic
        Whether the images are computed.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crossfold.bundling"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["by"] = _by
    template = environment.get_template("card.md")
    return template.render(
        bundle=bundle,
        card=card,
        performance=list(_performance(bundle.metrics)),
        tolerances=_tolerances(bundle.metrics),
        confidence=next((row["confidence"] for row in bundle.metrics if row["confidence"]), None),
        synthetic=synthetic,
    )


def _performance(metrics: list[dict[str, Any]]) -> Iterable[list[str]]:
    """Yield the rows of the table of results."""
    for split, structure in dict.fromkeys((row["split"], row["structure"]) for row in metrics):
        rows = {
            row["metric"]: row
            for row in metrics
            if (row["split"], row["structure"]) == (split, structure)
        }
        first = next(iter(rows.values()))
        counts = [str(first["n"]), str(first["n_missed"])]
        cells = [_estimate(rows[metric]) if metric in rows else "–" for metric in _METRICS]
        yield [structure, _SPLITS[split], *counts, *cells]


def _tolerances(metrics: list[dict[str, Any]]) -> str:
    """Return the tolerances of the NSD: one, or those of all structures."""
    found = {row["structure"]: row["tolerance_mm"] for row in metrics if row["metric"] == "nsd"}
    if len({*found.values()}) == 1:
        return f"{next(iter(found.values())):g} mm"
    return ", ".join(f"{name} {tolerance_mm:g} mm" for name, tolerance_mm in found.items())


def _estimate(row: dict[str, Any]) -> str:
    digits = 1 if row["unit"] == "mm" else 3
    value, low, high = (
        _number(row[key], digits) for key in (row["ci_statistic"], "ci_low", "ci_high")
    )
    return value if row["ci_low"] is None else f"{value} ({low} to {high})"


def _number(value: float | str | None, digits: int) -> str:
    if value is None:
        return "–"
    number = float(value)
    return f"{number:.{digits}f}" if math.isfinite(number) else "∞"


def _by(sizes: Iterable[float | None]) -> str:
    return " × ".join("own" if size is None else f"{size:g}" for size in sizes)
