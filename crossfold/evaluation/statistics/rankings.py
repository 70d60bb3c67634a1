"""omnibus.csv and ranks.csv: three or more runs, or members of a model, on the same subjects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.alignment import PRESENT, units_of
from crossfold.evaluation.statistics.leaks import refusal
from crossfold.evaluation.statistics.ranks import friedman, rank_stability
from crossfold.evaluation.statistics.runs import (
    COMPARED_METRICS,
    Run,
    member_label,
    results_of,
    sort_folds,
)
from crossfold.evaluation.statistics.verdicts import correct
from crossfold.evaluation.tables import METRICS

OMNIBUS_COLUMNS = [
    *("runs", "split", "structure", "metric", "n", "k", "friedman_chi2", "p_friedman"),
    *("iman_davenport_f", "p", "correction", "m", "p_adjusted", "note"),
]
RANKS_COLUMNS = [
    *("runs", "split", "scheme", "structure", "metric", "model", "n", "k", "mean_rank"),
    *("rank", "rank_ci_low", "rank_ci_high", "p_rank1", "p_ranks", "kendall_tau_mean", "note"),
]
MIN_CONTENDERS = 3
_RESAMPLES = 999
"""At most: the ranks' intervals are whole numbers, which more resamples do not move."""


@dataclass(frozen=True)
class Field:
    """Several runs, or members of a model, that are ranked among each other.

    Parameters
    ----------
    runs
        compared or members.
    split
        val or test.
    rows
        Rows of each contender, by its label.
    note
        Who is left out, and why.
    """

    runs: str
    split: str
    rows: dict[str, pd.DataFrame]
    note: str = ""


@dataclass(frozen=True)
class Standing:
    """The values of one structure and metric.

    Parameters
    ----------
    values
        One row per patient, one column per contender; no value is missing.
    note
        Who is left out, and why.
    """

    structure: str
    metric: str
    values: pd.DataFrame
    note: str


def find_field(
    runs: Sequence[Run], compared: pd.DataFrame, leaks: pd.DataFrame, config: StatisticsConfig
) -> Field | None:
    """Find who is ranked: the compared runs if they are three or more, else folds and ensemble.

    Returns
    -------
    Field or None
        None if there are neither three runs nor three members with a result on test.
    """
    rows = {run.label: results_of(compared, run.label, config.primary_split) for run in runs}
    out = [reason for label in rows if (reason := _left_out(leaks, label, rows[label]))]
    rows = {label: one for label, one in rows.items() if not _left_out(leaks, label, one)}
    if len(rows) >= MIN_CONTENDERS:
        return Field("compared", config.primary_split, rows, "; ".join(out))
    model = runs[0].label
    tested = compared[(compared["run"] == model) & (compared["split"] == "test")]
    if refusal(leaks, model, tested):
        return None
    members = {
        member_label(model, fold): tested[tested["fold"] == fold]
        for fold in sort_folds(tested["fold"].unique())
    }
    return Field("members", "test", members) if len(members) >= MIN_CONTENDERS else None


def standings_of(
    field: Field | None, structures: Sequence[str], tolerances: pd.DataFrame
) -> list[Standing]:
    """Line up the patients that all contenders have, for each structure and metric.

    Parameters
    ----------
    field
        What `find_field` returned.
    structures
        Structures of the model that are not excluded.
    tolerances
        The columns run, structure and nsd_tolerance_mm.

    Returns
    -------
    list of Standing
        Scans of a patient are averaged however they are compared elsewhere: ranks know no clusters.
    """
    if field is None:
        return []
    return [
        standing
        for structure in structures
        for standing in _standings(field, structure, tolerances)
    ]


def omnibus_table(field: Field | None, standings: Sequence[Standing]) -> pd.DataFrame:
    """Test whether the contenders differ at all; p is Iman and Davenport's.

    Returns
    -------
    DataFrame
        The columns `OMNIBUS_COLUMNS`; p is corrected by Benjamini and Hochberg's method.
    """
    rows = []
    for one in standings:
        assert field is not None
        result = friedman(one.values.to_numpy())
        note = "; ".join(filter(None, (field.note, one.note, result.note)))
        rows.append(
            (
                *(field.runs, field.split, one.structure, one.metric, result.n, result.k),
                *(result.chi2, result.p, result.iman_davenport_f, result.p_iman_davenport),
                *("fdr_bh", 0, np.nan, note),
            )
        )
    table = pd.DataFrame(rows, columns=OMNIBUS_COLUMNS)
    return table.assign(**correct(table["p"], table["runs"]))


def ranks_table(
    field: Field | None, standings: Sequence[Standing], config: StatisticsConfig
) -> pd.DataFrame:
    """Rank the contenders by three schemes, and say how sure their ranks are.

    Returns
    -------
    DataFrame
        The columns `RANKS_COLUMNS`. `p_ranks`: shares of the resamples in which the contender had
        rank 1, 2, ..., separated by blanks.
    """
    rows = [row for one in standings if field for row in _rank_rows(field, one, config)]
    return pd.DataFrame(rows, columns=RANKS_COLUMNS)


def _left_out(leaks: pd.DataFrame, label: str, rows: pd.DataFrame) -> str:
    return f"no result of {label}" if rows.empty else refusal(leaks, label, rows)


def _standings(field: Field, structure: str, tolerances: pd.DataFrame) -> Iterator[Standing]:
    present, dropped = {}, []
    for label, rows in field.rows.items():
        of_structure = rows[(rows["structure"] == structure) & rows["state"].isin(PRESENT)]
        if of_structure.empty:
            dropped.append(f"no {structure} of {label}")
        else:
            present[label] = of_structure
    if not present:
        return
    common = set.intersection(*(set(rows["subject"]) for rows in present.values()))
    everyone = set.union(*(set(rows["subject"]) for rows in present.values()))
    if common != everyone:
        dropped.append(f"{len(everyone - common)} subjects that not all have")
    units = {
        label: units_of(rows[rows["subject"].isin(common)], "aggregate")
        for label, rows in present.items()
    }
    known = tolerances[tolerances["structure"] == structure].dropna().drop_duplicates()
    tolerance_mm = known.groupby("run")["nsd_tolerance_mm"].first()
    for metric in COMPARED_METRICS:
        notes = list(dropped)
        columns = {label: one[metric] for label, one in units.items() if one[metric].notna().all()}
        notes += [f"{metric} not measured by {label}" for label in units if label not in columns]
        values = pd.DataFrame(columns)
        if metric == "nsd" and tolerance_mm.reindex(list(columns)).nunique() > 1:
            notes.append("NSD at different tolerances")
            values = values.iloc[:0]
        yield Standing(structure, metric, values, "; ".join(notes))


def _rank_rows(field: Field, one: Standing, config: StatisticsConfig) -> Iterator[tuple]:
    if one.values.shape[1] < MIN_CONTENDERS:
        return
    higher_is_better = bool(METRICS.at[one.metric, "better"] == "higher")
    values = one.values.to_numpy()
    result = rank_stability(
        values,
        higher_is_better=higher_is_better,
        resamples=min(_RESAMPLES, config.resamples),
        seed=config.seed,
        alpha=config.alpha,
    )
    mean_ranks = (one.values * (-1 if higher_is_better else 1)).rank(axis=1).mean()
    note = "; ".join(filter(None, (field.note, one.note, result.note)))
    for scheme, ranking in result.rankings.items():
        shares = ranking.rank_counts / ranking.rank_counts.sum(axis=1, keepdims=True)
        for i, label in enumerate(one.values.columns):
            yield (
                *(field.runs, field.split, scheme, one.structure, one.metric, label),
                *(result.n, result.k, mean_ranks[label], ranking.rank[i]),
                *(ranking.rank_ci_low[i], ranking.rank_ci_high[i], ranking.p_rank1[i]),
                " ".join(f"{share:.4g}" for share in shares[i]),
                *(ranking.kendall_tau_mean, note),
            )
