from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crossfold.search.table import COMPLETE, Outcome, gain_over, trial_row

STRUCTURES = ["big", "small"]
Values = dict[tuple[str, str], float]


def measured(values: Values) -> pd.DataFrame:
    rows = [(structure, subject, dice) for (structure, subject), dice in values.items()]
    return pd.DataFrame(rows, columns=["structure", "subject", "dice"])


def gain(before: Values, after: Values, groups: dict[str, str] | None = None) -> dict[str, float]:
    return gain_over(measured(before), measured(after), "dice", STRUCTURES, groups or {})


def mean(values: Values) -> float:
    row = trial_row(
        *(0, 0, {}, Outcome(COMPLETE)),
        metrics=measured(values),
        as_it_is=pd.DataFrame(),
        crops=None,
        metric="dice",
        structures=STRUCTURES,
        groups={},
    )
    return float(row["mean"])


def test_the_gain_is_the_difference_of_the_means_whatever_is_absent() -> None:
    before = {
        ("big", "a"): 0.9,
        ("big", "b"): 0.8,
        ("big", "c"): 0.7,
        ("big", "d"): 0.9,
        ("small", "a"): 0.4,
        ("small", "b"): 0.5,
        ("small", "c"): np.nan,
        ("elsewhere", "a"): 0.1,
    }
    after = {key: dice + 0.1 for key, dice in before.items()}
    after |= {("big", "b"): 0.6, ("small", "b"): 0.4, ("elsewhere", "a"): 0.9}
    found = gain(before, after)
    # Big: 0.1, -0.2, 0.1 and 0.1; small: 0.1 and -0.1. Over structures first, 0.0375.
    assert found["gain"] == pytest.approx((0.025 + 0) / 2)
    assert found["gain"] == pytest.approx(mean(after) - mean(before))
    assert found["gain_low"] < found["gain"] < found["gain_high"]
    # A trial that invents the small structure where it is not has a lower mean, and that is told.
    invented = gain(before, after | {("small", "c"): 0.0})
    assert invented["gain"] == pytest.approx((0.025 + 0.9 / 3 - 0.45) / 2)
    assert invented["gain"] == pytest.approx(
        mean(after | {("small", "c"): 0.0}) - mean(before), abs=1e-12
    )
    assert invented["gain_low"] < invented["gain"] < invented["gain_high"]


def test_with_one_scan_of_each_patient_the_interval_is_that_of_the_paired_t_test() -> None:
    random = np.random.default_rng(0)
    before = {(name, str(i)): random.uniform() for name in STRUCTURES for i in range(7)}
    after = {key: random.uniform() for key in before}
    of_subjects = [measured(values).groupby("subject")["dice"].mean() for values in (before, after)]
    low, high = stats.ttest_rel(of_subjects[1], of_subjects[0]).confidence_interval(0.95)
    found = gain(before, after)
    assert (found["gain_low"], found["gain_high"]) == pytest.approx((low, high))


def test_scans_of_a_patient_do_not_make_an_interval_narrow() -> None:
    """Without any true gain, 95 % of the intervals hold 0: not of scans, but of patients."""
    random = np.random.default_rng(0)
    patients = {f"{patient}-{scan}": str(patient) for patient in range(5) for scan in range(4)}
    before = {(structure, name): 0.5 for structure in STRUCTURES for name in patients}
    holds: dict[str, list[bool]] = {"patients": [], "scans": []}
    for _ in range(250):
        of_patients = random.normal(scale=0.05, size=5)
        after = {
            key: 0.5 + of_patients[int(patients[key[1]])] + random.normal(scale=0.03)
            for key in before
        }
        for unit, groups in (("patients", patients), ("scans", {})):
            found = gain(before, after, groups)
            holds[unit].append(found["gain_low"] <= 0 <= found["gain_high"])
    assert 0.92 < np.mean(holds["patients"]) < 0.98
    assert np.mean(holds["scans"]) < 0.75


def test_an_interval_that_cannot_be_told_is_not() -> None:
    one = {("big", "a"): 0.5, ("big", "b"): 0.6, ("big", "c"): 0.6, ("small", "a"): 0.5}
    other = {("big", "a"): 0.6, ("big", "b"): 0.6, ("big", "c"): 0.7, ("small", "a"): 0.7}
    # Of the small structure there is one patient.
    found = gain(one, other)
    assert found["gain"] == pytest.approx((0.2 / 3 + 0.2) / 2)
    assert np.isnan([found["gain_low"], found["gain_high"]]).all()
    # The same trial, the same gain of everyone, one patient, nobody.
    assert np.isnan(gain(one, one)["gain_low"])
    everyone = {("big", str(i)): i / 10 for i in range(5)}
    assert np.isnan(gain(everyone, {key: dice + 0.1 for key, dice in everyone.items()})["gain_low"])
    assert np.isnan(gain(everyone, other, dict.fromkeys("01234abc", "x"))["gain_low"])
    assert np.isnan([*gain({}, one).values()]).all()
    assert np.isnan([*gain({("big", "a"): np.nan}, one).values()]).all()
