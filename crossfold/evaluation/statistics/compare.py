"""Everything that is compared with a model, as the tables of `results/<run>/statistics/`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold.config.statistics import ComparedRun, StatisticsConfig
from crossfold.evaluation.statistics.comparisons import compare, comparisons_table
from crossfold.evaluation.statistics.contests import find_contests, small_institutions
from crossfold.evaluation.statistics.failure_rates import failure_rates_table
from crossfold.evaluation.statistics.leaks import find_leaks
from crossfold.evaluation.statistics.method import method_table
from crossfold.evaluation.statistics.plan import Plan, check_plan, make_plan, read_plan
from crossfold.evaluation.statistics.rankings import (
    find_field,
    omnibus_table,
    ranks_table,
    standings_of,
)
from crossfold.evaluation.statistics.runs import (
    COMPARED_COLUMNS,
    Run,
    check_labels,
    combine,
    read_model,
    read_run,
    runs_table,
)
from crossfold.evaluation.statistics.sensitivity import sensitivity_table
from crossfold.evaluation.statistics.volumes import bland_altman_table

Other = tuple[ComparedRun | Mapping[str, Any], Path | None, Path | None]


def compare_model(
    label: str,
    metrics: Path,
    splits: Path,
    others: Sequence[Other],
    *,
    structures: Sequence[str],
    plan: str | os.PathLike[str],
    config: StatisticsConfig,
) -> dict[str, pd.DataFrame]:
    """Read a model and what it is compared with, and compare them.

    Parameters
    ----------
    label
        The model, or model and epoch.
    metrics, splits
        Its metrics.csv and splits.csv.
    others
        Entries of `statistics.compare`, each with metrics.csv and splits.csv where it is a model of
        this configuration, else None.
    structures
        Structures of the model, derived ones behind.
    plan
        plan.json, which has to be that of this configuration.
    config
        Section `statistics`.

    Returns
    -------
    dict of DataFrame
        Tables by the names of their files, without suffix: runs, compared, leaks, comparisons,
        failure_rates, omnibus, ranks, bland_altman, method, sensitivity.

    Raises
    ------
    CrossfoldError
        If a file or revision is missing, a cell of a table is wrong, a label occurs twice, or the
        plan was edited or is another one.
    """
    compared = [ComparedRun.model_validate(run) for run, _, _ in others]
    labels = [run.name for run in compared]
    planned = read_plan(plan)
    check_plan(planned, make_plan(label, labels, structures, config, results_existed=False))
    others_read = [read_run(run, *files) for run, (_, *files) in zip(compared, others, strict=True)]
    runs = [read_model(label, metrics, splits), *others_read]
    return compare_runs(runs, structures, planned, config)


def compare_runs(
    runs: Sequence[Run], structures: Sequence[str], plan: Plan, config: StatisticsConfig
) -> dict[str, pd.DataFrame]:
    """Compare runs that were read already; see `compare_model`.

    Parameters
    ----------
    runs
        The model itself, then what it is compared with.
    structures
        Structures of the model, derived ones behind.
    plan
        What `make_plan` returned.
    config
        Section `statistics`.
    """
    check_labels([run.label for run in runs])
    runs, compared = combine(runs, structures, config)
    kept = [name for name in structures if name not in config.exclude_structures]
    leaks = find_leaks(runs, compared)
    runs[0] = runs[0].noting(small_institutions(compared, runs[0].label, config.primary_split))
    contests = find_contests(runs, compared, leaks, plan, config)
    tolerances = compared[["run", "structure", "nsd_tolerance_mm"]].drop_duplicates()
    comparisons = compare(contests, kept, tolerances, plan, config)
    field = find_field(runs, compared, leaks, config)
    standings = standings_of(field, kept, tolerances)
    return {
        "runs": runs_table(runs, compared),
        "compared": compared[COMPARED_COLUMNS],
        "leaks": leaks,
        "comparisons": comparisons_table(comparisons, config),
        "failure_rates": failure_rates_table(comparisons, config),
        "omnibus": omnibus_table(field, standings),
        "ranks": ranks_table(field, standings, config),
        "bland_altman": bland_altman_table(runs, compared, leaks, kept, config),
        "method": method_table(comparisons, runs, config),
        "sensitivity": sensitivity_table(comparisons, compared, config),
    }
