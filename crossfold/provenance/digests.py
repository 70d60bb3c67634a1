"""MD5 digests as DVC computes them, remembered where DVC remembers them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from dvc.fs import localfs
from dvc.ignore import DvcIgnoreFilter
from dvc.repo import Repo
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db.local import LocalHashFileDB
from dvc_data.hashfile.state import State
from dvc_data.hashfile.tree import Tree

MEMORY = Path(".snakemake") / "digests"


class Digests:
    """Digests of files and directories, read again only when a file's size, time or inode differ.

    In a DVC repository the database of DVC itself is used: what `dvc status` has read is not read
    here again, and the reverse. Elsewhere a database of the same form lies in .snakemake/.

    Parameters
    ----------
    root
        The checkout; its `.dvcignore` says what does not count in a directory.

    Examples
    --------
    >>> with Digests() as digests:
    ...     digests.of("results/Prostate/splits.csv")  # doctest: +SKIP
    '0cc175b9c0f1b6a831c399e269772661'
    """

    def __init__(self, root: str | os.PathLike[str] = ".") -> None:
        self._root = Path(root).absolute()

    def __enter__(self) -> Digests:
        self._open = contextlib.ExitStack()
        if (self._root / ".dvc").is_dir():
            repository = self._open.enter_context(Repo(os.fspath(self._root)))
            self._state, self._ignore = repository.state, repository.dvcignore
        else:
            self._ignore = DvcIgnoreFilter(localfs, os.fspath(self._root))
            memory = os.fspath(self._root / MEMORY)
            self._state = State(os.fspath(self._root), memory, self._ignore)
            self._open.callback(self._state.close)
        # No object is ever put there: it lends `build` its memory.
        self._database = LocalHashFileDB(localfs, os.fspath(self._root), state=self._state)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def of(self, path: str | os.PathLike[str]) -> str:
        """Return the digest of a file, or `<digest>.dir` of a directory with all that is in it.

        Raises
        ------
        FileNotFoundError
            If there is nothing at `path`.
        """
        return self._build(self._absolute(path)).hash_info.value

    def tree(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """Return the digest of every file in a directory, by its path relative to it, sorted.

        Raises
        ------
        FileNotFoundError
            If there is nothing at `path`.
        NotADirectoryError
            If it is a file.
        """
        found = self._build(self._absolute(path))
        if not isinstance(found, Tree):
            raise NotADirectoryError(f"{path} is a file")
        return dict(sorted(("/".join(key), info.value) for key, _, info in found))

    def set_time(self, path: str | os.PathLike[str], seconds: float) -> None:
        """Set when a file, or all that is in a directory, was modified; digests stay remembered.

        Parameters
        ----------
        path
            File or directory; what links in it point to is left alone.
        seconds
            Since the epoch.
        """
        absolute = self._absolute(path)
        found = self._build(absolute)
        if isinstance(found, Tree):
            known = [(os.fspath(absolute.joinpath(*key)), info) for key, _, info in found]
        else:
            known = [(os.fspath(absolute), found.hash_info)]
        for entry in _from_the_leaves(absolute):
            os.utime(entry, (seconds, seconds), follow_symlinks=False)
        self._state.save_many([(file, info, None) for file, info in known], localfs)

    def _absolute(self, path: str | os.PathLike[str]) -> Path:
        # Not resolved, like DVC, whose memory goes by path.
        return Path(os.path.normpath(self._root / path))

    def _build(self, path: Path) -> Any:
        return build(
            self._database, os.fspath(path), localfs, "md5", ignore=self._ignore, dry_run=True
        )[2]


def _from_the_leaves(path: Path) -> Iterator[Path]:
    """Yield everything below a directory, and then itself."""
    if path.is_dir():
        for folder, _, files in os.walk(path, topdown=False):
            yield from (Path(folder, file) for file in files)
            yield Path(folder)
    else:
        yield path
