"""A registered model, as the registry, the pipeline and a hook know it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from crossfold.config.base import nearest
from crossfold.errors import CrossfoldError

FORMAT = 1
CURRENT = "current"
"""What stands for a version in the reference to the one that is marked."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NUMBER = re.compile(r"[1-9][0-9]*")
_REFERENCE = re.compile(rf"({NAME.pattern})(?::({NUMBER.pattern}|{CURRENT}))?")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of a model.

    Parameters
    ----------
    name, version
        What others ask for; versions count from 1 and are never given twice.
    digest
        SHA-256 of the bundle's hashes.json, and so of every file of it.
    registered
        When, as ISO 8601 in UTC.
    description
        Epoch, folds, and Dice on test and validation subjects.
    tags
        Run, epoch, commit, digest of the dataset, mean Dice.
    kind, where
        In a folder or in AzureML, and in which.
    path
        The bundle on this machine; None where it is only in AzureML.
    current
        Whether it is marked as the current version.
    marked
        When it was last marked as that, in UTC; empty if it never was.
    """

    name: str
    version: int
    digest: str
    registered: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["folder", "azureml"] = "folder"
    where: str = ""
    path: Path | None = None
    current: bool = False
    marked: str = ""

    @property
    def id(self) -> str:
        """Name and version, `Prostate:3`."""
        return f"{self.name}:{self.version}"

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it in a file."""
        keys = ("name", "version", "digest", "registered", "description")
        kept = {key: getattr(self, key) for key in keys}
        return {"format": FORMAT, **kept, "tags": dict(sorted(self.tags.items()))}


@dataclass(frozen=True)
class Damaged:
    """A version that cannot be used, and why."""

    name: str
    version: int
    reason: str

    @property
    def id(self) -> str:
        """Name and version."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Models:
    """What there is of a model, or of several.

    Parameters
    ----------
    registered, damaged
        The versions, by name and number.
    current
        The number that is marked, by name.
    """

    registered: Sequence[Registered]
    damaged: Sequence[Damaged] = ()
    current: Mapping[str, int] = field(default_factory=dict)

    @property
    def all(self) -> list[Registered | Damaged]:
        """Every version, by name and number."""
        return sorted([*self.registered, *self.damaged], key=lambda one: (one.name, one.version))

    @property
    def newest(self) -> int:
        """The highest number that was ever given; 0 if none was."""
        return max((one.version for one in self.all), default=0)

    @property
    def copies(self) -> list[tuple[Registered, Registered]]:
        """Versions that are the same bundle as an earlier one, each with that one."""
        first: dict[tuple[str, str], Registered] = {}
        pairs = [(one, first.setdefault((one.name, one.digest), one)) for one in self.registered]
        return [(one, earlier) for one, earlier in pairs if earlier is not one]

    def find(self, reference: Reference, where: str) -> Registered:
        """Return the version that is meant.

        Parameters
        ----------
        reference
            Without a number: the version that is marked, or else the newest.
        where
            Which registry this is, for the error.

        Raises
        ------
        CrossfoldError
            If it is not there, or damaged.
        """
        sound = {one.version: one for one in self.registered if one.name == reference.name}
        broken = {one.version: one for one in self.damaged if one.name == reference.name}
        number = reference.version
        if not isinstance(number, int):
            newest = None if number == CURRENT else max([*sound, *broken], default=None)
            number = self.current.get(reference.name, newest)
        if number in broken:
            raise CrossfoldError(
                f"{broken[number].id}: {broken[number].reason}",
                remedy="restore it from a backup, or name another version",
            )
        if number not in sound:
            raise CrossfoldError(
                f"{reference}: there is no such model in {where}",
                remedy=_remedy(reference, sorted({one.name for one in self.registered}), sound),
            )
        return sound[number]


def _remedy(reference: Reference, names: Sequence[str], numbers: Collection[int]) -> str:
    if reference.version == CURRENT and numbers:
        return f"mark one: crossfold models use {reference.name}:{max(numbers)}"
    if numbers:
        return f"choose one of {', '.join(f'{reference.name}:{number}' for number in numbers)}"
    if names:
        return nearest(reference.name, names)
    return "register one: crossfold models add results/<Model>/model"


@dataclass(frozen=True)
class Reference:
    """Which version is meant.

    Parameters
    ----------
    name
        Of the model.
    version
        Its number; `CURRENT` for the one that is marked; None for that, or the newest.
    """

    name: str
    version: int | str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read `Prostate`, `Prostate:3` or `Prostate:current`.

        Raises
        ------
        CrossfoldError
            If it is none of these.

        Examples
        --------
        >>> Reference.parse("Prostate:3")
        Reference(name='Prostate', version=3)
        """
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise CrossfoldError(
                f"`{text}` is not the name of a registered model",
                remedy="write Prostate:3, Prostate:current or Prostate; see `crossfold models`",
            )
        name, version = match.groups()
        return cls(name, int(version) if (version or "").isdecimal() else version)

    def __str__(self) -> str:
        """As it is written."""
        return self.name if self.version is None else f"{self.name}:{self.version}"


def require_number(reference: Reference) -> Reference:
    """Return a reference that names a version by its number.

    Raises
    ------
    CrossfoldError
        If it does not.
    """
    if isinstance(reference.version, int):
        return reference
    raise CrossfoldError(
        f"{reference}: which version is to be the current one?",
        remedy=f"name it, such as {reference.name}:3",
    )


def now() -> str:
    """Return the time in the form in which registries keep it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
