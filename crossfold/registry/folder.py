"""A folder of registered models, which several people may share.

    registry/Prostate/3/model/              the bundle, as it was registered
    registry/Prostate/3/registration.json   what is said about it
    registry/Prostate/current.json          which version is marked, and when each last was
    registry/index.json                     all of it at a glance, and what has ever been there

A version appears whole, by a single renaming, and is never changed again. Nobody holds a lock, so
nobody who is killed leaves one: who finds a number taken looks again at who was faster.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from crossfold.registry.registered import (
    FORMAT,
    NAME,
    NUMBER,
    Damaged,
    Models,
    Reference,
    Registered,
    now,
    require_number,
)

logger = logging.getLogger(__name__)

INDEX = "index.json"
REGISTRATION = "registration.json"
BUNDLE = "model"

_MARK = "current.json"
_UNFINISHED = ".part-"
_FORGOTTEN_S = 7 * 86400
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}
# A file server may show others a new folder up to a minute late.
_PATIENCE_S, _PAUSE_S = 120.0, 0.1


class FolderRegistry:
    """Models in a folder.

    Parameters
    ----------
    path
        The folder; it is made when something is registered.
    shown
        What is said of where it is: as it is written in the configuration.
    """

    def __init__(self, path: Path, shown: str = "") -> None:
        self.path = path
        self.shown = shown or path.as_posix()

    def register(
        self, bundle: BundleFiles, facts: Facts, *, version: int | None = None
    ) -> Registered:
        """Copy a bundle into the registry, unless it is there already.

        Parameters
        ----------
        bundle
            Every file of it is checked.
        facts
            Name, description and tags.
        version
            Its number, where it has one elsewhere; otherwise the next one.

        Returns
        -------
        Registered
            The new version, or the one that has been this bundle all along.

        Raises
        ------
        CrossfoldError
            If the bundle is not whole, the folder cannot be written, or another bundle has that
            number.
        """
        folder = self.path / facts.name
        known = self._same(self.models(facts.name), bundle.digest, version)
        if known is None:
            with _writing(self.path):
                folder.mkdir(parents=True, exist_ok=True)
                with _unfinished(folder) as part:
                    bundle.copy(part / BUNDLE)
                    known = self._settle(part, bundle, facts, version)
                self._write_index()
        return self.find(Reference(known.name, known.version))

    def models(self, name: str = "") -> Models:
        """Return the versions of a model, or of all of them."""
        # Read first: what it names and the listing lacks is gone, not new.
        index = self._index()
        found: list[Registered] = []
        damaged: list[Damaged] = []
        for folder in self._versions(name):
            try:
                found.append(self._read(folder))
            except CrossfoldError as error:
                version = int(folder.name)
                damaged.append(Damaged(folder.parent.name, version, error.message))
        damaged += [
            replace(one, reason="was registered, and its folder is gone")
            for one in index
            if name in ("", one.name) and not self._folder(one.name, one.version).is_dir()
        ]
        marks = {}
        for one in {*(one.name for one in found), *(one.name for one in damaged)}:
            try:
                marks[one] = self._marks(one)
            except CrossfoldError as error:
                if one == name:
                    raise
                # Of all models, only this one cannot be said everything about.
                logger.warning("%s", error)
                marks[one] = _Mark()
        return Models(
            [marks[one.name].on(one) for one in found],
            damaged,
            {one: mark.version for one, mark in marks.items() if mark.version},
        )

    def find(self, reference: Reference) -> Registered:
        """Return the version that is meant.

        Raises
        ------
        CrossfoldError
            If it is not there, or damaged.
        """
        found = self.models(reference.name)
        # Of a name that nobody bears, the error names those that there are.
        return (found if found.all else self.models()).find(reference, self.shown)

    def mark_current(self, reference: Reference) -> Registered:
        """Mark a version as the current one of its model, instead of any other.

        Raises
        ------
        CrossfoldError
            If it is not there, damaged, or the folder cannot be written.
        """
        reference = require_number(reference)
        folder = self._folder(reference.name, reference.version)
        found = self._read(folder) if folder.is_dir() else self.find(reference)
        with _writing(self.path):
            before: Mapping[str, str] = {}
            with contextlib.suppress(CrossfoldError):  # damaged: this is how it is mended
                before = self._marks(found.name).marked
            mark = _Mark(found.version, {**before, str(found.version): now()})
            _write(self.path / found.name / _MARK, asdict(mark))
            self._write_index()
        return mark.on(found)

    def pulled(self, wanted: Registered) -> Registered | None:
        """Return a version of another registry as it was brought here, or None."""
        for one in self.models(wanted.name).registered:
            if (one.id, one.digest) == (wanted.id, wanted.digest):
                return one
        return None

    def _settle(
        self, part: Path, bundle: BundleFiles, facts: Facts, version: int | None
    ) -> Registered:
        """Give a copied bundle its number, unless somebody else has registered it meanwhile."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            # The number that is tried follows exactly the versions that were looked at: of two who
            # register the same bundle, the second finds the number taken, and then the first.
            there = self.models(facts.name)
            if known := self._same(there, bundle.digest, version):
                return known
            registered = Registered(
                name=facts.name,
                version=version or there.newest + 1,
                digest=bundle.digest,
                registered=now(),
                description=facts.description,
                tags=facts.tags,
            )
            _write(part / REGISTRATION, registered.to_json())
            try:
                part.rename(part.with_name(str(registered.version)))
            except NotADirectoryError as error:
                raise CrossfoldError(
                    f"{part.with_name(str(registered.version))}: is a file, where version "
                    f"{registered.version} would be",
                    remedy="remove it",
                ) from error
            except OSError as error:
                if error.errno not in _TAKEN or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return registered

    def _same(self, there: Models, digest: str, version: int | None) -> Registered | None:
        """Return the version that is this bundle already.

        Raises
        ------
        CrossfoldError
            If `version` is given, and is another bundle or damaged.
        """
        for broken in there.damaged:
            if broken.version == version and self._folder(broken.name, version).is_dir():
                raise CrossfoldError(
                    f"{broken.id} in {self.shown} is damaged: {broken.reason}",
                    remedy="remove its folder, and try again",
                )
        for known in there.registered:
            if version in (None, known.version) and known.digest == digest:
                return known
            if version == known.version:
                raise CrossfoldError(
                    f"{known.id} in {self.shown} is another bundle ({known.digest[:12]}, not "
                    f"{digest[:12]}), and versions are never overwritten",
                    remedy="bring it to another folder: crossfold models pull "
                    f"{known.id} --registry FOLDER",
                )
        return None

    def _folder(self, name: str, version: int | str | None) -> Path:
        return self.path / name / str(version)

    def _versions(self, name: str = "") -> list[Path]:
        """Return the folders of all versions, by name and number."""
        folders = [
            folder
            for folder in self.path.glob(f"{name or '*'}/*")
            if NAME.fullmatch(folder.parent.name)
            and NUMBER.fullmatch(folder.name)
            and folder.is_dir()
        ]
        return sorted(folders, key=lambda folder: (folder.parent.name, int(folder.name)))

    def _read(self, folder: Path) -> Registered:
        """Return a version; of its bundle, only hashes.json is looked at."""
        file = folder / REGISTRATION
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            form = kept.pop("format")
            registered = Registered(
                **kept,
                where=f"{self.shown}/{folder.parent.name}/{folder.name}",
                path=folder / BUNDLE,
            )
            dict(registered.tags)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(file, error) from error
        if form != FORMAT or registered.id != f"{folder.parent.name}:{folder.name}":
            raise _unreadable(file, f"format {form} of {registered.id}")
        if BundleFiles.read(folder / BUNDLE).digest != registered.digest:
            raise _unreadable(folder / BUNDLE, "not the bundle that was registered")
        return registered

    def _marks(self, name: str) -> _Mark:
        file = self.path / name / _MARK
        try:
            mark = _Mark(**json.loads(file.read_text(encoding="utf-8")))
            return replace(mark, marked=dict(mark.marked))
        except FileNotFoundError:
            return _Mark()
        except (OSError, ValueError, TypeError) as error:
            raise CrossfoldError(
                f"{file}: not readable ({error})",
                remedy=f"mark a version again: crossfold models use {name}:<number>",
            ) from error

    def _index(self) -> list[Damaged]:
        """Return all that the index names, for the sake of what is gone."""
        try:
            known = json.loads((self.path / INDEX).read_text(encoding="utf-8"))["models"]
            return [
                Damaged(name, int(version), reason="")
                for name, model in known.items()
                for version in model["versions"]
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []  # it is written from what is there, and says nothing else that matters

    def _write_index(self) -> None:
        """Write all of it at a glance; who comes late writes what others have registered, too."""
        written: dict[str, Any] = {}
        while (content := self._overview()) != written:
            _write(self.path / INDEX, content)
            written = content

    def _overview(self) -> dict[str, Any]:
        found = self.models()
        models: dict[str, Any] = {}
        for one in found.all:
            kept = models.setdefault(one.name, {"current": None, "versions": {}})
            kept["current"] = found.current.get(one.name)
            kept["versions"][str(one.version)] = (
                {"damaged": one.reason}
                if isinstance(one, Damaged)
                else {key: getattr(one, key) for key in ("digest", "registered", "description")}
            )
        return {"format": FORMAT, "models": dict(sorted(models.items()))}


@dataclass(frozen=True)
class _Mark:
    """Which version of a model is marked, and when each that ever was last was."""

    version: int | None = None
    marked: Mapping[str, str] = field(default_factory=dict)

    def on(self, one: Registered) -> Registered:
        """Return a version with its mark."""
        marked = self.marked.get(str(one.version), "")
        return replace(one, current=one.version == self.version, marked=marked)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say what keeps the registry from being written."""
    try:
        yield
    except OSError as error:
        raise CrossfoldError(
            f"the registry {path} cannot be written: {error.strerror or error}",
            remedy="free space, ask for the right to write there, or name another folder: "
            "`registry: {path: …}` in config.yaml",
        ) from error


@contextlib.contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """Yield a folder of one's own, removed afterwards unless it was renamed."""
    for forgotten in folder.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - forgotten.stat().st_mtime > _FORGOTTEN_S:
                shutil.rmtree(forgotten, ignore_errors=True)
    part = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(path: Path, content: Any) -> None:
    """Write a file whole, under a name of its own while it is not: others may write it as well."""
    part = path.with_name(f"{_UNFINISHED}{uuid.uuid4().hex}")
    try:
        part.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _unreadable(file: Path, why: object) -> CrossfoldError:
    return CrossfoldError(f"{file}: not readable ({why})", remedy="restore it from a backup")
