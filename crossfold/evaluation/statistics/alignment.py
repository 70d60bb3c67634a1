"""Who is compared with whom: rows of two sides, side by side for the same subjects, or not.

The unit of every comparison is the patient. Scans of one group are averaged to one value after the
scans that only one side has were left out (`aggregate`), or stay and are resampled as a cluster.
Subjects whose reference has no such structure are left out, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from crossfold.evaluation.statistics.runs import COMPARED_METRICS
from crossfold.evaluation.statistics.sources import listed

PRESENT = ("ok", "missed")
_NUMBERS = (*COMPARED_METRICS, "volume_ref_ml", "volume_pred_ml")
_REFERENCE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Side:
    """One side of a comparison: rows of `compared.csv`, one per subject and structure."""

    label: str
    model: str
    rows: pd.DataFrame
    group: str = ""
    """Institution, where only its subjects are meant."""


@dataclass(frozen=True)
class Aligned:
    """One structure of two sides.

    Parameters
    ----------
    a, b
        One row per unit: the metrics, `failed`, `fold`, `cluster`. The same units in the same
        order where `paired`.
    paired
        Whether the same subjects are compared.
    n_a, n_b
        Units with a reference that each side has.
    n_dropped
        Units of either side that are not compared.
    reasons
        Why they are not, and what else there is to know.
    """

    a: pd.DataFrame
    b: pd.DataFrame
    paired: bool
    n_a: int
    n_b: int
    n_dropped: int
    reasons: tuple[str, ...]


def align(a: Side, b: Side, structure: str, *, repeated_scans: str, design: str = "") -> Aligned:
    """Put the subjects of a structure side by side.

    Parameters
    ----------
    a, b
        The two sides.
    structure
        The structure.
    repeated_scans
        aggregate or cluster; ignore: every scan counts as a patient of its own.
    design
        unpaired: do not pair even the same subjects; empty: pair where subjects are shared.

    Returns
    -------
    Aligned
        Unpaired where no subject is shared. Scans are then always averaged, as the test for
        different subjects knows no clusters.
    """
    rows_a, rows_b = (side.rows[side.rows["structure"] == structure] for side in (a, b))
    common = set(rows_a["subject"]) & set(rows_b["subject"])
    if not common or design == "unpaired":
        present = [_present(rows, side.label) for rows, side in ((rows_a, a), (rows_b, b))]
        how = "ignore" if repeated_scans == "ignore" else "aggregate"
        units = [units_of(rows, how) for rows, _ in present]
        absent = sum(rows["group"].nunique() for rows in (rows_a, rows_b)) - sum(map(len, units))
        reasons = tuple(reason for _, reason in present if reason)
        return Aligned(units[0], units[1], False, len(units[0]), len(units[1]), absent, reasons)
    return _paired(rows_a, rows_b, (a.label, b.label), common, repeated_scans)


def units_of(rows: pd.DataFrame, repeated_scans: str) -> pd.DataFrame:
    """One row per unit, sorted by its name: means over its scans, and whether any of them failed.

    Parameters
    ----------
    rows
        Rows of one run and structure, with a reference.
    repeated_scans
        aggregate: a unit is a group; cluster: a scan, of the cluster that its group is; ignore: a
        scan.

    Returns
    -------
    DataFrame
        The metrics, volumes, `failed`, `fold` and `cluster`.
    """
    name = "group" if repeated_scans == "aggregate" else "subject"
    cluster = rows["subject" if repeated_scans == "ignore" else "group"]
    units = rows.assign(failed=rows["state"] == "missed", cluster=cluster).set_index(name)
    units = units.sort_index(kind="stable")
    units = units[[*_NUMBERS, "failed", "fold", "cluster"]]
    if units.index.is_unique:
        return units
    # The mean of a failure's infinite distance is infinite: a unit fails with any of its scans.
    means = dict.fromkeys(_NUMBERS, "mean")
    return units.groupby(level=0).agg(
        means | {"failed": "any", "fold": "first", "cluster": "first"}
    )


def _paired(
    rows_a: pd.DataFrame,
    rows_b: pd.DataFrame,
    labels: tuple[str, str],
    common: set[str],
    repeated_scans: str,
) -> Aligned:
    reasons = []
    for rows, label in ((rows_a, labels[0]), (rows_b, labels[1])):
        if alone := set(rows["subject"]) - common:
            reasons.append(f"{len(alone)} only in {label}")
    everyone = set(rows_a["subject"]) | set(rows_b["subject"])
    key = "group" if repeated_scans == "aggregate" else "subject"
    groups = (
        pd.concat([rows_a, rows_b]).drop_duplicates("subject").set_index("subject", drop=False)[key]
    )
    present_a, present_b = _with_reference(rows_a), _with_reference(rows_b)
    absent = common - (present_a & present_b)
    if absent:
        reasons.append(f"{len(absent)} without the structure in the reference")
        if disputed := (present_a ^ present_b) & common:
            reasons.append(f"the references of {listed(disputed, 3)} disagree on that")
    used = common - absent
    a, b = (
        rows[rows["subject"].isin(used)].sort_values("subject", kind="stable")
        for rows in (rows_a, rows_b)
    )
    reasons += _references_differ(a, b)
    units = units_of(a, repeated_scans), units_of(b, repeated_scans)
    n_a, n_b = (groups[sorted(present)].nunique() for present in (present_a, present_b))
    dropped = groups[sorted(everyone)].nunique() - len(units[0])
    return Aligned(units[0], units[1], True, n_a, n_b, dropped, tuple(reasons))


def _present(rows: pd.DataFrame, label: str) -> tuple[pd.DataFrame, str]:
    """Rows with a reference, and how many had none."""
    present = rows["state"].isin(PRESENT)
    absent = rows.loc[~present, "subject"].nunique()
    reason = f"{absent} of {label} without the structure in the reference" if absent else ""
    return rows[present], reason


def _with_reference(rows: pd.DataFrame) -> set[str]:
    return set(rows.loc[rows["state"].isin(PRESENT), "subject"])


def _references_differ(a: pd.DataFrame, b: pd.DataFrame) -> Sequence[str]:
    """Say whose reference is not the same contour on both sides, by its volume."""
    volumes_a = a.set_index("subject")["volume_ref_ml"]
    volumes_b = b.set_index("subject")["volume_ref_ml"]
    differ = (volumes_a - volumes_b).abs() > _REFERENCE_TOLERANCE * volumes_a
    if not differ.any():
        return []
    return [f"the references of {listed(set(differ.index[differ]), 3)} differ in volume"]
