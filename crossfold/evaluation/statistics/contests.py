"""Which sides are compared: runs, folds and ensemble of a model, institutions within it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from crossfold.config.statistics import StatisticsConfig
from crossfold.evaluation.statistics.alignment import PRESENT, Side
from crossfold.evaluation.statistics.leaks import refusal
from crossfold.evaluation.statistics.plan import Plan, planned_pairs
from crossfold.evaluation.statistics.runs import Run, member_label, results_of, sort_folds
from crossfold.evaluation.statistics.sources import listed

MIN_SUBJECTS_PER_INSTITUTION = 5
"""Below, two institutions cannot differ significantly after a correction, whatever they do."""
_CASE_MIX = "different subjects: a difference may be one of case mix, not of the models"


@dataclass(frozen=True)
class Contest:
    """Two sides, before a structure and a metric are chosen.

    Parameters
    ----------
    family
        runs, members or institutions: the family of what is not planned.
    a, b
        The sides.
    split
        val or test.
    folds_differ
        Whether the sides were trained on different subjects; None if that is not known.
    refused, impossible
        Why it must not, or cannot, be compared; empty if it can.
    notes
        What to know about any of its results.
    """

    family: str
    a: Side
    b: Side
    split: str
    folds_differ: bool | None
    refused: str = ""
    impossible: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Who against whom."""
        if self.a.group or self.b.group:
            return f"{self.a.label}: {self.a.group} vs {self.b.group}"
        return f"{self.a.label} vs {self.b.label}"


def find_contests(
    runs: Sequence[Run],
    compared: pd.DataFrame,
    leaks: pd.DataFrame,
    plan: Plan,
    config: StatisticsConfig,
) -> list[Contest]:
    """Find everything that is compared.

    Parameters
    ----------
    runs
        The model itself, then what it is compared with.
    compared, leaks
        What `combine` and `find_leaks` returned.
    plan
        What `make_plan` returned.
    config
        Section `statistics`.
    """
    return [
        *_between_runs(runs, compared, leaks, plan, config),
        *_between_members(runs[0], compared, leaks),
        *_between_institutions(runs[0], compared, leaks, config),
    ]


def small_institutions(compared: pd.DataFrame, label: str, split: str) -> str:
    """Say which institutions of a run have too few subjects to be compared."""
    counts = _institutions(results_of(compared, label, split))
    small = counts.index[counts < MIN_SUBJECTS_PER_INSTITUTION]
    if len(counts) < 2 or small.empty:
        return ""
    return f"institutions with fewer than {MIN_SUBJECTS_PER_INSTITUTION} subjects: {listed(small)}"


def _between_runs(
    runs: Sequence[Run],
    compared: pd.DataFrame,
    leaks: pd.DataFrame,
    plan: Plan,
    config: StatisticsConfig,
) -> Iterator[Contest]:
    by_label = {run.label: run for run in runs}
    for name_a, name_b in planned_pairs(runs[0].label, [run.label for run in runs[1:]], config):
        pair = by_label[name_a], by_label[name_b]
        for split in ("val", "test"):
            sides = [
                Side(run.label, run.model, results_of(compared, run.label, split)) for run in pair
            ]
            without = [side.label for side in sides if side.rows.empty]
            if without and split != plan["primary_split"]:
                continue
            yield Contest(
                "runs",
                sides[0],
                sides[1],
                split,
                _folds_differ(*pair),
                refused="; ".join(
                    filter(None, (refusal(leaks, side.label, side.rows) for side in sides))
                ),
                impossible=f"no result on {split}: {listed(without)}" if without else "",
                notes=() if without else _notes_of(pair, sides),
            )


def _notes_of(pair: tuple[Run, Run], sides: Sequence[Side]) -> tuple[str, ...]:
    unknown = [run.label for run in pair if run.roles is None]
    notes = [f"training subjects unknown: {listed(unknown)}"] if unknown else []
    a, b = (set(side.rows["subject"]) for side in sides)
    return tuple(notes if a & b else [*notes, _CASE_MIX])


def _between_members(run: Run, compared: pd.DataFrame, leaks: pd.DataFrame) -> Iterator[Contest]:
    rows = compared[(compared["run"] == run.label) & (compared["split"] == "test")]
    members = {fold: rows[rows["fold"] == fold] for fold in sort_folds(rows["fold"].unique())}
    for fold_a, fold_b in combinations(members, 2):
        sides = [
            Side(member_label(run.label, fold), run.model, members[fold])
            for fold in (fold_a, fold_b)
        ]
        refused = [refusal(leaks, run.label, side.rows) for side in sides]
        yield Contest(
            "members", sides[0], sides[1], "test", True, refused="; ".join(filter(None, refused))
        )


def _between_institutions(
    run: Run, compared: pd.DataFrame, leaks: pd.DataFrame, config: StatisticsConfig
) -> Iterator[Contest]:
    rows = results_of(compared, run.label, config.primary_split)
    counts = _institutions(rows)
    large = sorted(counts.index[counts >= MIN_SUBJECTS_PER_INSTITUTION])
    for names in combinations(large, 2):
        sides = [
            Side(run.label, run.model, rows[rows["institution"] == name], group=name)
            for name in names
        ]
        refused = {refusal(leaks, run.label, side.rows) for side in sides}
        yield Contest(
            "institutions",
            sides[0],
            sides[1],
            config.primary_split,
            False,
            refused="; ".join(sorted(filter(None, refused))),
        )


def _institutions(rows: pd.DataFrame) -> pd.Series[int]:
    """Number of patients with any structure, by institution."""
    rows = rows[rows["state"].isin(PRESENT) & (rows["institution"] != "")]
    return rows.groupby("institution")["group"].nunique()


def _folds_differ(a: Run, b: Run) -> bool | None:
    if a.roles is None or b.roles is None:
        return None
    divisions = []
    for run in (a, b):
        assert run.roles is not None
        trained = run.roles[run.roles["role"] == "train"]
        divisions.append({frozenset(names) for _, names in trained.groupby("fold")["subject"]})
    return divisions[0] != divisions[1]
