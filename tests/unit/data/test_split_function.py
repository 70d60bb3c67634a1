from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.config.splits import SplitsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.split_function import divide_subjects
from crossfold.data.splits import make_splits
from crossfold.errors import CrossfoldError

SUBJECTS = [f"p{number}" for number in range(8)]
SAID: dict[str, Any] = {}


def said(subjects: pd.DataFrame) -> Any:
    """Return what a test has prepared."""
    return SAID["roles"]


def by_scanner(subjects: pd.DataFrame, *, folds: int, seed: int, test: str) -> pd.Series:
    assert seed == 3
    roles = pd.Series(np.arange(len(subjects)) % folds, index=subjects["subject"], dtype=object)
    roles[(subjects["scanner"] == test).to_numpy()] = "test"
    return roles


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rows = [
        {
            "subject": subject,
            "channel": channel,
            "filePath": f"{subject}_{channel}.nii.gz",
            "scanner": "new" if number > 5 else "old",
            "group": "twins" if number in (0, 1) else "",
            "drifts": channel,
        }
        for number, subject in enumerate(SUBJECTS)
        for channel in ("ct", "organ")
    ]
    columns = ["label", "volume", "acquisition_date", "institutionId", "seriesId", "tags"]
    return Dataset(Path(), pd.DataFrame(rows).assign(**dict.fromkeys(columns, "")))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest's import mode hides this module."""
    module = ModuleType("lab_of_tests")
    module.said, module.by_scanner = said, by_scanner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lab_of_tests", module)


def config(function: Any = "lab_of_tests:said", **more: Any) -> SplitsConfig:
    return SplitsConfig(**({"folds": 2, "function": function} | more))


def roles(**changes: Any) -> dict[str, Any]:
    fair = dict(zip(SUBJECTS, [0, 0, 1, 0, 1, 0, "test", "test"], strict=True))
    return {name: role for name, role in (fair | changes).items() if role != "unnamed"}


def test_columns_folds_seed_and_arguments_are_passed(dataset: Dataset) -> None:
    function = {"_target_": "lab_of_tests:by_scanner", "test": "new"}
    usable = [subject for subject in SUBJECTS if subject != "p1"]
    splits = divide_subjects(dataset, usable, config(function, seed=3))
    assert splits.test == ("p6", "p7")
    assert splits.subjects("val", 0) == ("p0", "p3", "p5")
    assert splits.subjects("train", 0) == ("p2", "p4")


def test_excluded_subjects_are_not_asked_about(dataset: Dataset) -> None:
    SAID["roles"] = roles(p5="unnamed")
    splits = divide_subjects(dataset, SUBJECTS, config(exclude=["p5"]))
    assert "p5" not in {member.subject for member in splits.members}


def test_a_single_fold_has_train_and_val(dataset: Dataset) -> None:
    SAID["roles"] = dict(zip(SUBJECTS, ["train"] * 5 + ["val"] + ["test"] * 2, strict=True))
    splits = divide_subjects(dataset, SUBJECTS, config(folds=1))
    assert splits.subjects("val", 0) == ("p5",)
    assert len(splits.subjects("train", 0)) == 5


def test_without_a_function_nothing_is_new(dataset: Dataset) -> None:
    usual = SplitsConfig(folds=2, test=["p3"])
    expected = make_splits(dataset.metadata, usual).to_frame()
    assert divide_subjects(dataset, SUBJECTS, usual).to_frame().equals(expected)


@pytest.mark.parametrize(
    ("given_roles", "message"),
    [
        (["p0"], "returns list"),
        (roles(p9=0), "names p9, no subject"),
        (roles(p4="unnamed"), "says nothing of p4"),
        (roles(p4=2), "says 2 of p4"),
        (roles(p4=0.0), "says 0.0 of p4"),
        (roles(p4="train"), "says 'train' of p4"),
        (roles(p6=0, p7=0), "names 0 test subjects"),
        (roles(p2=0, p4=0), "validates nobody in fold 1"),
        (roles(p1=1), "group `twins` is torn apart"),
    ],
)
def test_what_is_no_division_is_refused(dataset: Dataset, given_roles: Any, message: str) -> None:
    SAID["roles"] = given_roles
    with pytest.raises(CrossfoldError, match=message):
        divide_subjects(dataset, SUBJECTS, config())


def test_a_test_set_that_was_not_announced_is_refused(dataset: Dataset) -> None:
    SAID["roles"] = roles()
    with pytest.raises(CrossfoldError, match=r"names 2 test subjects, with `splits\.test: 0`"):
        divide_subjects(dataset, SUBJECTS, config(test=0))


@given(st.lists(st.sampled_from([0, 1, 2, "test"]), min_size=8, max_size=8))
def test_any_answer_is_a_division_or_an_error(dataset: Dataset, drawn: list[int | str]) -> None:
    SAID["roles"] = dict(zip(SUBJECTS, drawn, strict=True))
    try:
        splits = divide_subjects(dataset, SUBJECTS, config(folds=3))
    except CrossfoldError:
        complete = {0, 1, 2, "test"} <= set(drawn)
        assert not complete or drawn[0] != drawn[1]
    else:
        for subject, role in SAID["roles"].items():
            assert subject in (splits.test if role == "test" else splits.subjects("val", role))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ({"_target_": "lab_of_tests.said", "test": "new"}, "cannot be called: got an unexpected"),
        ("lab_of_tests.by_scanner", "cannot be called: missing a required argument: 'test'"),
        ("lab_of_tests.nothing", "cannot import lab_of_tests.nothing"),
    ],
)
def test_a_function_that_cannot_be_called(dataset: Dataset, function: Any, message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        divide_subjects(dataset, SUBJECTS, config(function))


@pytest.mark.parametrize("other", [{"val": ["p1"]}, {"train": ["p1"]}, {"test": ["p1"]}])
def test_a_function_divides_alone(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="function"):
        config(**other)
