"""Writing the report of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import read_metrics
from crossfold.images import atomic_path
from crossfold.paper.catalogue import SEGMENTATIONS, TRAINING
from crossfold.paper.facts import Facts
from crossfold.paper.report.pictures import ShownFigure, address, shown_figures
from crossfold.paper.report.provenance import provenance_of
from crossfold.paper.report.run import plain, what_was_run
from crossfold.paper.report.sentences import headline, planned_comparisons
from crossfold.paper.report.subjects import METRICS, result_rows, subject_rows
from crossfold.paper.tables import main
from crossfold.paper.tables.numbers import number

OUTLIERS_FIGURE = "outlier_montage"
# The page lists the gravest; all are in the table beside it.
SHOWN_OUTLIERS = 50
_CLASSES = ("hard", "clinical", "statistical", "disagreement", "rank")

Inputs = Mapping[str, Path | Sequence[Path]]


@dataclass(frozen=True)
class Download:
    """A file beside the page."""

    name: str
    address: str


def write_report(inputs: Inputs, target: Path, facts: Facts) -> None:
    """Write a page about a run that opens by itself, without a network.

    Figures and thumbnails are inside the page. Files beside it are linked by relative addresses,
    so the folder of the run may be moved as a whole.

    Parameters
    ----------
    inputs
        `metrics`, and where there are such files: `outliers` (outliers.csv), `figures` (PNG files;
        PDF and CSV beside them), `thumbnails` (directory) and `manifest` (MANIFEST.json). Under
        any other name, files that lie below the folder of the page: these, too, are listed for
        download.
    target
        Page to write, `.html`; appears whole or not at all.
    facts
        What was run, and what came out.

    Raises
    ------
    CrossfoldError
        If a table is damaged.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("crossfold.paper.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    page = environment.get_template("report.html").render(_contents(inputs, target, facts))
    with atomic_path(target) as temporary:
        # A name may hold what is no character, such as half of a pair of surrogates.
        temporary.write_text(page, encoding="utf-8", errors="replace")


def _contents(inputs: Inputs, target: Path, facts: Facts) -> dict[str, Any]:
    """Return everything that the template names."""
    figures = list(shown_figures(_files(inputs, "figures"), target))
    outliers = read_frame(_file(inputs, "outliers")) if "outliers" in inputs else pd.DataFrame()
    table = main.table(facts, pd.DataFrame())
    thumbnails = _file(inputs, "thumbnails") if "thumbnails" in inputs else None
    metrics = read_metrics(_file(inputs, "metrics"))
    rows = list(
        subject_rows(
            metrics,
            outliers,
            structures=facts.structures,
            derived=facts.config.get("derived_structures", ()),
            thumbnails=thumbnails,
        )
    )
    return {
        "facts": facts,
        "headline": headline(facts),
        "run": list(what_was_run(facts)),
        "table": table,
        "table_rows": list(table.rows()),
        "sentences": list(planned_comparisons(facts)),
        "exploratory": _exploratory(facts.comparisons),
        "categories": _categories(figures),
        "missing": [figure for figure in figures if figure.reason],
        "curves": [f for f in figures if f.picture and f.entry.category == TRAINING],
        "metrics": METRICS,
        "rows": rows,
        "splits": sorted({row.split for row in rows}),
        "institutions": any(row.institution for row in rows),
        "outlier_counts": _outlier_counts(outliers),
        "outliers": _gravest_outliers(outliers),
        "outliers_cut": len(outliers) and len(result_rows(outliers)) > SHOWN_OUTLIERS,
        "outliers_figure": next((f for f in figures if f.name == OUTLIERS_FIGURE), None),
        "provenance": provenance_of(_file(inputs, "manifest") if "manifest" in inputs else None),
        "downloads": list(_downloads(inputs, target)),
    }


def _file(inputs: Inputs, name: str) -> Path:
    file = inputs[name]
    if not isinstance(file, Path):
        raise TypeError(f"{name}: one path is needed, not {file!r}")
    return file


def _files(inputs: Inputs, name: str) -> list[Path]:
    files = inputs.get(name, ())
    return [files] if isinstance(files, Path) else list(files)


def _categories(figures: Sequence[ShownFigure]) -> dict[str, list[ShownFigure]]:
    """Return drawn figures by category; outliers and training have sections of their own."""
    categories: dict[str, list[ShownFigure]] = {}
    for figure in figures:
        own_section = figure.name == OUTLIERS_FIGURE or figure.entry.category == TRAINING
        if figure.picture and not own_section:
            categories.setdefault(figure.entry.category, []).append(figure)
    # What was measured comes before what it looks like.
    return dict(sorted(categories.items(), key=lambda item: item[0] == SEGMENTATIONS))


def _exploratory(comparisons: pd.DataFrame) -> int:
    return 0 if comparisons.empty else int((comparisons["role"] == "exploratory").sum())


def _outlier_counts(outliers: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Return class, reason and number of subjects, the gravest class first."""
    if outliers.empty:
        return []
    counts = result_rows(outliers).groupby(["class", "reason"])["subject"].nunique()
    rows = [(kind, reason, int(n)) for kind, reason, n in counts.reset_index().to_numpy()]
    return sorted(rows, key=lambda row: (_gravity(row[0]), -row[2], row[1]))


def _gravest_outliers(outliers: pd.DataFrame) -> list[dict[Any, Any]]:
    if outliers.empty:
        return []
    rows = result_rows(outliers)
    rows = rows.assign(gravity=rows["class"].map(_gravity))
    rows = rows.sort_values(["gravity", "subject"], kind="stable").head(SHOWN_OUTLIERS)
    return [
        {**row, "value": _written(row["value"]), "threshold": _written(row["threshold"])}
        for row in rows.to_dict("records")
    ]


def _gravity(kind: str) -> int:
    return _CLASSES.index(kind) if kind in _CLASSES else len(_CLASSES)


def _written(value: Any) -> str:
    """Write a number in three digits, and anything else as it is."""
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:.3g}" if abs(value) < float("inf") else number(value, 0)


def _downloads(inputs: Inputs, target: Path) -> Iterator[Download]:
    """Yield the tables and texts below the folder of the page; figures have links of their own."""
    names = [name for name in inputs if name not in ("figures", "thumbnails")]
    for file in sorted({file for name in names for file in _files(inputs, name)}):
        if file.is_file() and file.is_relative_to(target.parent):
            yield Download(file.relative_to(target.parent).as_posix(), address(file, target))
