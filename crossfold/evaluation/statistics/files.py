"""Where the tables of compared runs lie, and writing what was compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from crossfold import paths
from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.evaluation.statistics.mann_whitney_table import mann_whitney_table, mann_whitney_text
from crossfold.evaluation.statistics.wilcoxon_table import wilcoxon_table, wilcoxon_text
from crossfold.evaluation.tables import write_table
from crossfold.images import atomic_path


def tables_of(run: ComparedRun) -> tuple[Path | None, Path | None]:
    """Return metrics.csv and splits.csv of a model; other runs say themselves where theirs are."""
    if not run.model:
        return None, None
    names = {"run": run.model, "model": run.base_model}
    return Path(paths.METRICS.format(**names)), Path(paths.SPLITS.format(**names))


def write_statistics(
    tables: Mapping[str, pd.DataFrame],
    files: Mapping[str, str],
    *,
    label: str,
    config: StatisticsConfig,
) -> None:
    """Write what `compare_model` returned, and the two tables in the layout of InnerEye.

    Parameters
    ----------
    tables
        Tables by name.
    files
        Path of each table, and of `wilcoxon`, `wilcoxon_text`, `mann_whitney` and
        `mann_whitney_text`.
    label
        The model that the others are compared with.
    config
        Section `statistics`.
    """
    compared, refused = tables["compared"], tables["comparisons"].query("verdict == 'refused'")
    wilcoxon = wilcoxon_table(compared, config, focus=label, refused=refused)
    mann_whitney = mann_whitney_table(compared, config, refused=refused)
    texts = {
        "wilcoxon_text": wilcoxon_text(wilcoxon, config),
        "mann_whitney_text": mann_whitney_text(mann_whitney),
    }
    for name, table in {**tables, "wilcoxon": wilcoxon, "mann_whitney": mann_whitney}.items():
        write_table(files[name], table)
    for name, text in texts.items():
        with atomic_path(Path(files[name])) as temporary:
            temporary.write_text(text, encoding="utf-8")
