"""Where a value of the configuration comes from: its file, and in it the key and the line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from crossfold.config.inheritance import SHIPPED, shipped_bases
from crossfold.errors import CrossfoldError

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A key in a file; `location` names the model in which it is written, which may be a base."""

    file: Path
    line: int
    location: Location


class Origin:
    """Finds the file, and in it the key, from which a value came.

    Parameters
    ----------
    files
        Configuration files, the strongest last.
    lineages
        Models and their bases, the model first.
    """

    def __init__(
        self, files: Sequence[str | Path], lineages: Mapping[str, list[str]] | None = None
    ) -> None:
        self._files = [Path(file) for file in files]
        self._lineages = dict(lineages or {})

    def with_lineage(self, name: str, chain: list[str]) -> Origin:
        """Return one that looks for values of a model in its bases as well."""
        return Origin(self._files, {**self._lineages, name: chain})

    def error(self, location: Location, message: str, remedy: str) -> CrossfoldError:
        """Return the error to raise about a value."""
        return CrossfoldError(self.message(location, message), remedy=remedy)

    def message(self, location: Location, message: str) -> str:
        """Put file and key before a message; of a key that no file has, the nearest above it."""
        candidates = self._candidates(location)
        for depth in range(len(location), 0, -1):
            for candidate in candidates:
                for file, _ in self._holding(candidate[:depth]):
                    return f"{file}: {_dotted(candidate)}: {message}"
        nowhere = "command line" if self._files else "configuration"
        return f"{nowhere}: {_dotted(location)}: {message}"

    def place(self, location: Location) -> Place | None:
        """Return where exactly this value is written, or None where nothing but a default is."""
        for candidate in self._candidates(location):
            for file, inner in self._holding(candidate):
                return Place(file, _line(file, inner), candidate)
        return None

    def _candidates(self, location: Location) -> list[Location]:
        """Return the places in which a value may be written, the nearest base first."""
        if len(location) > 2 and location[0] == "models" and location[1] in self._lineages:
            chain = self._lineages[str(location[1])]
            return [("models", ancestor, *location[2:]) for ancestor in chain]
        return [location]

    def _holding(self, location: Location) -> list[tuple[Path, Location]]:
        """Return the files that have a key, the strongest first, and where in them it is."""
        if len(location) > 1 and location[0] == "models" and location[1] in shipped_bases():
            stem, _, name = str(location[1]).partition(".")
            shipped = Path(os.path.relpath(SHIPPED / f"{stem}.yaml"))
            places = [(shipped, (name, *location[2:]))]
        else:
            places = [(file, location) for file in reversed(self._files)]
        return [(file, inner) for file, inner in places if _has(_read(file), inner)]


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


@cache
def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@cache
def _composed(file: Path) -> yaml.Node | None:
    return yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)


def _has(tree: Any, location: Location) -> bool:
    for part in location:
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and isinstance(part, int) and part < len(tree):
            tree = tree[part]
        else:
            return False
    return True


def _line(file: Path, location: Location) -> int:
    """Return the line of a key, or of the last one on the way that is written out."""
    node, line = _composed(file), 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        found = [(key, value) for key, value in node.value if key.value == str(part)]
        if not found:  # It is merged in by `<<`.
            break
        key, node = found[-1]
        line = key.start_mark.line + 1
    return line
