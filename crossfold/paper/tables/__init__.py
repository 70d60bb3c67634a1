r"""Tables of a paper: LaTeX, CSV and HTML from one frame each, and macros for numbers in the text.

Crossfold's LaTeX needs `booktabs`, `longtable`, `array` and `\usepackage[T1]{fontenc}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import write_table
from crossfold.images import atomic_path
from crossfold.paper.catalogue import TABLES
from crossfold.paper.facts import gather_facts
from crossfold.paper.facts.gathering import Paths
from crossfold.paper.tables import comparisons, failures, main, structures
from crossfold.paper.tables.html import to_html
from crossfold.paper.tables.latex import to_latex
from crossfold.paper.tables.macros import to_macros
from crossfold.paper.tables.terminal import metrics_table, print_metrics

__all__ = ["TABLES", "metrics_table", "print_metrics", "write_tables"]

_READ = ("metrics", "compared", "comparisons", "failure_rates", "bland_altman")


def write_tables(
    paths: Paths,
    directory: Path,
    *,
    run: str,
    statistics: StatisticsConfig,
    dataset: Mapping[str, Any] | None = None,
    repository: Path | None = None,
) -> None:
    """Write each of `TABLES` as .tex, .csv and .html, and macros.tex.

    Parameters
    ----------
    paths
        As for `crossfold.paper.facts.gather_facts`; and where there are such files, `compared`,
        `failure_rates` and `bland_altman` of the folder statistics/.
    directory
        Folder of the tables.
    run, statistics, dataset, repository
        As for `gather_facts`.

    Raises
    ------
    CrossfoldError
        If a file is damaged.
    """
    facts = gather_facts(
        paths, run=run, statistics=statistics, dataset=dataset, repository=repository
    )
    frames = {name: _read(paths, name) for name in _READ}
    tables = {
        "main": main.table(facts, frames["compared"]),
        "comparisons": comparisons.table(facts, frames["comparisons"]),
        "structures": structures.table(facts, frames["metrics"], frames["bland_altman"]),
        "failures": failures.table(facts, frames["compared"], frames["failure_rates"]),
    }
    for name in TABLES:
        write_table(directory / f"{name}.csv", tables[name].frame)
        _write(directory / f"{name}.tex", to_latex(tables[name]))
        _write(directory / f"{name}.html", to_html(tables[name]))
    _write(directory / "macros.tex", to_macros(facts, frames["comparisons"]))


def _read(paths: Paths, name: str) -> pd.DataFrame:
    """Read a table, or return an empty one where it is not given."""
    file = paths.get(name)
    return read_frame(file) if isinstance(file, Path) else pd.DataFrame()


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
