"""Who is trained on, validated and tested in which fold."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

import pandas as pd

from crossfold.config.base import nearest
from crossfold.config.splits import Institutions, SplitsConfig
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

Role = Literal["train", "val", "test"]
ROLES: tuple[Role, ...] = ("train", "val", "test")
COLUMNS = ["subject", "group", "institution", "fold", "role"]

_DEFAULT_VAL = 0.2
_MEMBER = ["subject", "group", "institution"]


@dataclass(frozen=True)
class Fold:
    """Subjects of one fold by role."""

    train: frozenset[str]
    val: frozenset[str]
    test: frozenset[str]


@dataclass(frozen=True)
class Member:
    """A subject with its group (never empty) and institution (may be empty)."""

    subject: str
    group: str
    institution: str


@dataclass(frozen=True)
class Splits:
    """A division into test set and folds that cannot be wrong.

    Parameters
    ----------
    members
        Every subject once.
    divisions
        One per fold, in the order of the folds.

    Raises
    ------
    CrossfoldError
        If a subject has two roles or none in a fold, a group has two roles in a fold, the test
        set differs between folds, a fold has no training subject or, with two folds or more, a
        subject outside the test set is not validated exactly once. The message names them.
    """

    members: tuple[Member, ...]
    divisions: tuple[Fold, ...]

    def __post_init__(self) -> None:
        if not self.divisions:
            raise _invalid("there is no fold")
        _refuse_repeats(member.subject for member in self.members)
        for number, fold in enumerate(self.divisions):
            self._check_roles(number, fold)
        self._check_groups()
        self._check_across_folds()

    @property
    def folds(self) -> range:
        """Numbers of the folds, from 0."""
        return range(len(self.divisions))

    @property
    def test(self) -> tuple[str, ...]:
        """Subjects of the test set, sorted."""
        return self.subjects("test", 0)

    def subjects(self, role: Role, fold: int) -> tuple[str, ...]:
        """Subjects that have a role in a fold, sorted."""
        return tuple(sorted(getattr(self.divisions[fold], role)))

    def to_frame(self) -> pd.DataFrame:
        """One row per fold and subject, sorted: subject, group, institution, fold, role."""
        rows = [
            (member.subject, member.group, member.institution, number, role)
            for number, fold in enumerate(self.divisions)
            for member in sorted(self.members, key=lambda member: member.subject)
            for role in ROLES
            if member.subject in getattr(fold, role)
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Splits:
        """Rebuild from `to_frame`, in any order of rows, and check everything again.

        Raises
        ------
        CrossfoldError
            If a column is missing, a role is unknown, or the rows contradict each other.
        """
        missing = [column for column in COLUMNS if column not in frame]
        if missing:
            raise _invalid(f"no column {', '.join(missing)}")
        unknown = sorted(set(frame["role"]) - set(ROLES))
        if unknown:
            raise _invalid(f"role `{unknown[0]}`; {nearest(unknown[0], ROLES)}")
        numbers = sorted({int(number) for number in frame["fold"]})
        if numbers != list(range(len(numbers))):
            raise _invalid(f"the folds are {numbers} instead of 0, 1, 2, ...")
        members = frame[_MEMBER].drop_duplicates().sort_values(_MEMBER)
        roles = frame.groupby([frame["fold"].astype(int), "role"])["subject"].agg(frozenset)
        return cls(
            members=tuple(Member(*row) for row in members.itertuples(index=False)),
            divisions=tuple(
                Fold(*(roles.get((number, role), frozenset()) for role in ROLES))
                for number in numbers
            ),
        )

    def write(self, path: Path) -> None:
        """Write splits.csv, whole or not at all."""
        with atomic_path(path) as temporary:
            self.to_frame().to_csv(temporary, index=False, lineterminator="\n")

    @classmethod
    def read(cls, path: Path) -> Splits:
        """Read splits.csv and check it.

        Raises
        ------
        CrossfoldError
            If the file is missing or not a valid division; the message names the file.
        """
        try:
            return cls.from_frame(pd.read_csv(path, dtype=str, keep_default_na=False))
        except FileNotFoundError as error:
            raise CrossfoldError(
                f"{path}: no such file", remedy="split the dataset first"
            ) from error
        except CrossfoldError as error:
            raise CrossfoldError(f"{path}: {error.message}", remedy=error.remedy) from error
        except ValueError as error:
            raise CrossfoldError(
                f"{path}: not readable as splits ({error})", remedy="delete it and split again"
            ) from error

    @cached_property
    def _everyone(self) -> frozenset[str]:
        return frozenset(member.subject for member in self.members)

    def _check_roles(self, number: int, fold: Fold) -> None:
        for first, second in combinations(ROLES, 2):
            both = getattr(fold, first) & getattr(fold, second)
            if both:
                raise _invalid(f"{listed(both)} in both {first} and {second} of fold {number}")
        divided = fold.train | fold.val | fold.test
        if divided != self._everyone:
            raise _invalid(
                f"without a role in fold {number}, or with a role and no group: "
                f"{listed(divided ^ self._everyone)}"
            )
        if not fold.train:
            raise _invalid(
                f"fold {number} has no training subject", "leave fewer subjects to test and val"
            )

    def _check_groups(self) -> None:
        for number, fold in enumerate(self.divisions):
            seen: dict[str, tuple[Role, str]] = {}
            for member in self.members:
                role = next(role for role in ROLES if member.subject in getattr(fold, role))
                first_role, first = seen.setdefault(member.group, (role, member.subject))
                if role != first_role:
                    raise _invalid(
                        f"group `{member.group}` is torn apart in fold {number}: {first} is in "
                        f"{first_role}, {member.subject} in {role}"
                    )

    def _check_across_folds(self) -> None:
        test = self.divisions[0].test
        for number, fold in enumerate(self.divisions):
            if fold.test != test:
                raise _invalid(
                    f"the test sets of folds 0 and {number} differ: {listed(fold.test ^ test)}"
                )
        if len(self.divisions) > 1:
            validated = Counter(name for fold in self.divisions for name in fold.val)
            wrong = {name for name in self._everyone - test if validated[name] != 1}
            if wrong:
                raise _invalid(f"not validated exactly once: {listed(wrong)}")


def make_splits(subjects: pd.DataFrame, config: SplitsConfig) -> Splits:
    """Divide subjects into test set and folds; see `SplitsConfig` for the selectors.

    Test set: a proportion p takes the groups whose hash, uniform in [0, 1), is below p, so that
    adding a subject never moves another one between the test set and the rest. Its size therefore
    scatters around p like a binomial draw. Folds: the groups outside the test set, ordered by
    institution and hash, are dealt out in turn, so that every fold has its share of every
    institution; adding a subject may change these folds.

    Parameters
    ----------
    subjects
        One row per subject, any order: subject, group (empty: a group of its own), institution.
    config
        The section `splits` of a model.

    Raises
    ------
    CrossfoldError
        If a named subject or institution is unknown or claimed twice, a selector tears a group
        apart, there are fewer groups than folds, or a set that was asked for is empty.
    """
    members = members_of(subjects)
    excluded = select(members, "exclude", config.exclude)
    named = _named_roles(members, excluded, config)
    kept = {member.subject for member in members} - excluded if config.train is None else named
    members = tuple(member for member in members if member.subject in kept)
    _refuse_torn_groups(members, named, config)
    unnamed = {member.group for member in members if member.subject not in named}
    test_groups = _groups(members, named, "test") | _draw(unnamed, "test", config.test, config.seed)
    test = frozenset(member.subject for member in members if member.group in test_groups)
    pool = tuple(member for member in members if member.group not in test_groups)
    if config.folds > 1:
        validations = _deal(pool, config)
    else:
        drawable = unnamed - test_groups
        share = _DEFAULT_VAL if config.val is None else config.val
        groups = _groups(pool, named, "val") | _draw(drawable, "val", share, config.seed)
        validations = [frozenset(member.subject for member in pool if member.group in groups)]
    everyone = frozenset(member.subject for member in pool)
    return Splits(members, tuple(Fold(everyone - val, val, test) for val in validations))


def members_of(subjects: pd.DataFrame) -> tuple[Member, ...]:
    """The subjects sorted by name, so that the order of the rows cannot matter."""
    missing = [column for column in _MEMBER if column not in subjects]
    if missing:
        raise _invalid(f"the subjects have no column {', '.join(missing)}", "add it, empty or not")
    rows = sorted(subjects[_MEMBER].astype(str).itertuples(index=False, name=None))
    _refuse_repeats(subject for subject, _, _ in rows)
    return tuple(Member(name, group or name, institution) for name, group, institution in rows)


def select(
    members: tuple[Member, ...], key: str, selector: float | tuple[str, ...] | Institutions | None
) -> frozenset[str]:
    """Subjects that a selector names; a proportion names nobody."""
    if isinstance(selector, Institutions):
        _refuse_unknown(
            key, "institution", selector.institutions, {member.institution for member in members}
        )
        return frozenset(
            member.subject for member in members if member.institution in selector.institutions
        )
    if isinstance(selector, tuple):
        _refuse_unknown(key, "subject", selector, {member.subject for member in members})
        return frozenset(selector)
    return frozenset()


def _named_roles(
    members: tuple[Member, ...], excluded: frozenset[str], config: SplitsConfig
) -> dict[str, Role]:
    """Role of every subject that a list or an institution gives one to."""
    claims: dict[str, Role] = {}
    for role in ROLES:
        selector = getattr(config, role)
        chosen = select(members, role, selector)
        if isinstance(selector, Institutions):
            chosen -= excluded
        _refuse_double_claim(chosen & excluded, role, "exclude")
        for other in ROLES:
            _refuse_double_claim(
                {name for name in chosen if claims.get(name) == other}, role, other
            )
        if not chosen and isinstance(selector, Institutions):
            raise CrossfoldError(
                f"splits.{role}: {listed(selector.institutions)}: all subjects are excluded",
                remedy=f"exclude fewer, or remove splits.{role}",
            )
        claims |= dict.fromkeys(chosen, role)
    return claims


def _refuse_torn_groups(
    members: tuple[Member, ...], named: dict[str, Role], config: SplitsConfig
) -> None:
    """Repeated scans of one patient may not lie on two sides of a comparison."""
    # In a cross-validation, train and val are one pool; whoever is not named joins it.
    pool = {"train": "train", "val": "train" if config.folds > 1 else "val", "test": "test"}
    seen: dict[str, tuple[str, str]] = {}
    for member in members:
        role = pool[named[member.subject]] if member.subject in named else "no list"
        if role == "train" and config.train is None:
            role = "no list"
        first_role, first = seen.setdefault(member.group, (role, member.subject))
        if role != first_role:
            raise CrossfoldError(
                f"splits: group `{member.group}` is torn apart: {first} is in {first_role}, "
                f"{member.subject} in {role}",
                remedy="name all subjects of a group under the same key",
            )


def _groups(members: tuple[Member, ...], named: dict[str, Role], role: Role) -> frozenset[str]:
    return frozenset(member.group for member in members if named.get(member.subject) == role)


def _draw(
    groups: set[str], key: str, share: float | tuple[str, ...] | Institutions, seed: int
) -> frozenset[str]:
    """Groups whose hash is below a proportion; none if the selector is not a proportion."""
    if not isinstance(share, float) or share == 0:
        return frozenset()
    drawn = frozenset(group for group in groups if _uniform(seed, key, group) < share)
    if not drawn:
        raise CrossfoldError(
            f"splits.{key}: {share:g} draws nobody from the {len(groups)} subjects or groups that "
            f"are left, with seed {seed}; a hash draws each on its own, so few may give none",
            remedy=f"choose another splits.seed, a larger proportion, or list subjects in "
            f"splits.{key}",
        )
    return drawn


def _deal(pool: tuple[Member, ...], config: SplitsConfig) -> list[frozenset[str]]:
    """Validation sets: the groups in order of institution and hash, dealt out like cards."""
    institutions: dict[str, str] = {}
    for member in pool:
        first = institutions.setdefault(member.group, member.institution)
        institutions[member.group] = min(first, member.institution)
    if len(institutions) < config.folds:
        raise CrossfoldError(
            f"splits.folds: {config.folds} folds of {len(institutions)} subjects or groups outside "
            "the test set",
            remedy="lower splits.folds or splits.test, or add subjects",
        )
    ordered = sorted(
        institutions,
        key=lambda group: (institutions[group], _uniform(config.seed, "fold", group), group),
    )
    fold_of = {group: position % config.folds for position, group in enumerate(ordered)}
    return [
        frozenset(member.subject for member in pool if fold_of[member.group] == fold)
        for fold in range(config.folds)
    ]


def _uniform(seed: int, purpose: str, group: str) -> float:
    """A number in [0, 1] that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64


def _refuse_repeats(subjects: Iterable[str]) -> None:
    repeated = {name for name, count in Counter(subjects).items() if count > 1}
    if repeated:
        raise _invalid(f"more than one row, group or institution for {listed(repeated)}")


def _refuse_unknown(key: str, kind: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise CrossfoldError(
                f"splits.{key}: unknown {kind} `{name}`; {nearest(name, sorted(known))}",
                remedy=f"name one of dataset.csv that the checks have not left out ({len(known)} "
                f"{kind}s)",
            )


def _refuse_double_claim(names: Iterable[str], key: str, other: str) -> None:
    if names:
        raise CrossfoldError(
            f"splits: {listed(names)} named by both `{other}` and `{key}`",
            remedy="remove each from one of them",
        )


def listed(names: Iterable[str]) -> str:
    """The first ten names, sorted, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _invalid(problem: str, remedy: str = "split the dataset again") -> CrossfoldError:
    return CrossfoldError(f"splits: {problem}", remedy=remedy)
