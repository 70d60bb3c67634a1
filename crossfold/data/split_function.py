"""Test set and folds, as the configuration or a function of a site's own divides the subjects."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pandas as pd

from crossfold.config.base import nearest
from crossfold.config.functions import FunctionOptions, load_object
from crossfold.config.splits import SplitsConfig
from crossfold.data.dataset import Dataset
from crossfold.data.splits import Fold, Splits, listed, make_splits, members_of, select
from crossfold.errors import CrossfoldError

_KEY = "splits.function"
_OF_FILES = ("channel", "filePath", "label", "volume")
TEST, TRAIN, VAL = "test", "train", "val"


def divide_subjects(dataset: Dataset, usable: Collection[str], config: SplitsConfig) -> Splits:
    """Divide the usable subjects of a dataset into test set and folds.

    Parameters
    ----------
    dataset
        The dataset.
    usable
        Subjects that the checks have not left out.
    config
        The section `splits` of a model.

    Raises
    ------
    CrossfoldError
        As `make_splits` does; or if the function cannot be called, or what it returns is no
        division of the subjects.
    """
    subjects = dataset.metadata[dataset.metadata["subject"].isin(usable)]
    if config.function is None:
        return make_splits(subjects, config)
    excluded = select(members_of(subjects), "exclude", config.exclude)
    table = _described(dataset, subjects[~subjects["subject"].isin(excluded)])
    said = _ask(config.function, table, folds=config.folds, seed=config.seed)
    return _divided(table, said, config)


def _described(dataset: Dataset, subjects: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of dataset.csv, empty where the rows of a subject do not agree."""
    known = {*subjects.columns, *_OF_FILES}
    columns = [column for column in dataset.table.columns if column not in known]
    by_subject = dataset.table.groupby("subject", sort=False)[columns]
    described = by_subject.agg(_agreed)
    return subjects.merge(described, left_on="subject", right_index=True).reset_index(drop=True)


def _agreed(values: pd.Series) -> str:
    return str(values.iloc[0]) if values.nunique() == 1 else ""


def _ask(options: FunctionOptions, table: pd.DataFrame, **usual: int) -> dict[str, Any]:
    """Call the function, and return what it says of each subject."""
    function: Callable[..., Any] = load_object(options.target, f"{_KEY}._target_")
    signature = inspect.signature(function)
    arguments = {k: v for k, v in usual.items() if k in signature.parameters} | options.arguments
    try:
        signature.bind(table, **arguments)
    except TypeError as error:
        raise CrossfoldError(
            f"{_KEY}: {options.target} cannot be called: {error}",
            remedy=f"see the signature {signature}; the first argument is the table of subjects",
        ) from error
    said = function(table.copy(), **arguments)
    if not isinstance(said, Mapping | pd.Series):
        raise CrossfoldError(
            f"{_KEY}: {options.target} returns {type(said).__name__}",
            remedy="return a dictionary, or a series with subjects as index: the role of each",
        )
    return {str(subject): role for subject, role in said.items()}


def _divided(table: pd.DataFrame, said: dict[str, Any], config: SplitsConfig) -> Splits:
    subjects = set(table["subject"])
    if strange := sorted(set(said) - subjects):
        raise _refused(
            f"names {listed(strange)}, no subject that it was given",
            nearest(strange[0], sorted(subjects)),
        )
    if unnamed := subjects - set(said):
        raise _refused(
            f"says nothing of {listed(unnamed)}", "give each a role; leave out with `exclude`"
        )
    role_of = {subject: _role(subject, role, config) for subject, role in said.items()}
    test = frozenset(subject for subject, role in role_of.items() if role == TEST)
    if bool(test) != config.has_test:
        raise _refused(
            f"names {len(test)} test subjects, with `splits.test: {config.test:g}`",
            "write `test: 0` where there is no test set, and leave it out where there is one",
        )
    everyone = frozenset(subjects) - test
    validations = [
        frozenset(subject for subject, role in role_of.items() if role == fold)
        for fold in range(config.folds)
    ]
    for fold, validation in enumerate(validations):
        if not validation:
            raise _refused(f"validates nobody in fold {fold}", "give every fold a subject")
    return Splits(members_of(table), tuple(Fold(everyone - val, val, test) for val in validations))


def _role(subject: str, role: Any, config: SplitsConfig) -> str | int:
    """Return test, train, or a number of a fold."""
    single = config.folds == 1
    if isinstance(role, str):
        if role == TEST or (single and role == TRAIN):
            return role
        if single and role == VAL:
            return 0
    else:
        try:
            fold = operator.index(role)
        except TypeError:
            fold = -1
        if 0 <= fold < config.folds:
            return fold
    others = f"{TRAIN} or {VAL}" if single else f"a fold from 0 to {config.folds - 1}"
    raise _refused(f"says {role!r} of {subject}", f"say {TEST}, {others}")


def _refused(problem: str, remedy: str) -> CrossfoldError:
    return CrossfoldError(f"{_KEY}: the function {problem}", remedy=remedy)
