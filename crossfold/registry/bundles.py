"""What a registry reads of a bundle: its digest, its files, and its model.

Nothing here needs the packages that prediction needs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from crossfold.errors import CrossfoldError

HASHES = "hashes.json"
FORMAT = 1

_MODEL = "configs/model.json"
_REMEDY = "make the bundle again: snakemake results/<Model>/model"


@dataclass(frozen=True)
class BundleFiles:
    """The files of a bundle.

    Parameters
    ----------
    path
        Its folder.
    digest
        SHA-256 of hashes.json.
    hashes
        SHA-256 of every other file, by its path in the bundle.
    made_from
        Run, epoch, commit and dataset that the bundle was made from.
    """

    path: Path
    digest: str
    hashes: Mapping[str, str]
    made_from: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> BundleFiles:
        """Read hashes.json of a bundle; its other files are not looked at.

        Raises
        ------
        CrossfoldError
            If it is missing or damaged, of a newer format, or names files outside the bundle.
        """
        file = path / HASHES
        try:
            content = file.read_bytes()
            parsed = json.loads(content)
            form, hashes, made_from = parsed["format"], parsed["files"], parsed["made_from"]
        except FileNotFoundError:
            raise CrossfoldError(
                f"{path}: not a bundle, there is no {HASHES} in it",
                remedy="name the folder of one, such as results/Prostate/model",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CrossfoldError(f"{file}: damaged ({error})", remedy=_REMEDY) from error
        if form != FORMAT:
            raise CrossfoldError(
                f"{file}: has format {form}, but this version of Crossfold reads {FORMAT}",
                remedy="use the Crossfold that wrote it, or a newer one",
            )
        if not (isinstance(hashes, dict) and isinstance(made_from, dict)):
            raise CrossfoldError(f"{file}: damaged (it lists no files)", remedy=_REMEDY)
        for name in hashes:
            parts = PurePosixPath(name).parts
            if name.startswith("/") or "\\" in name or ".." in parts or not parts:
                raise CrossfoldError(f"{file}: `{name}` lies outside the bundle", remedy=_REMEDY)
        return cls(path, hashlib.sha256(content).hexdigest(), hashes, made_from)

    def problems(self) -> Iterator[str]:
        """Yield the files that are missing or altered."""
        for name, digest in self.hashes.items():
            try:
                found = _digest_of(self.path / name)
            except OSError:
                yield f"{name} is missing"
            else:
                if found != digest:
                    yield f"{name} is altered"

    def copy(self, target: Path) -> None:
        """Copy the files that hashes.json lists, and nothing else, to a folder.

        Raises
        ------
        CrossfoldError
            If one of them is missing or altered.
        """
        for name in (HASHES, *self.hashes):
            copied = target / name
            copied.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not the permissions: where a folder is shared, others have to read it.
                shutil.copyfile(self.path / name, copied)
            except FileNotFoundError as error:
                raise self._unusable(f"{name} is missing") from error
            expected = self.digest if name == HASHES else self.hashes[name]
            if _digest_of(copied) != expected:
                raise self._unusable(f"{name} is altered")

    def model(self) -> dict[str, Any]:
        """Return what the bundle says about its model.

        Raises
        ------
        CrossfoldError
            If that is missing or damaged.
        """
        file = self.path / _MODEL
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise CrossfoldError(f"{file}: not readable ({error})", remedy=_REMEDY) from error

    def _unusable(self, problem: str) -> CrossfoldError:
        return CrossfoldError(f"{self.path}: {problem}", remedy=_REMEDY)


def _digest_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
