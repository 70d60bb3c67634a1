"""DVC as publishing uses it: what it did not manage is said, and what is secret is not."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dvc.exceptions import DvcException
from dvc.output import Output
from dvc.repo import Repo
from dvc_data.callbacks import TqdmCallback
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.transfer import transfer

from crossfold.errors import CrossfoldError

# Names of settings of remotes, and of variables of the environment, whose values are secret.
_SECRET = re.compile(r"key|token|secret|password|passphrase|connection_string|credential", re.I)
_NOT_SECRET = re.compile(r"keyfile|path$|^keyless|ask_|allow_", re.I)
_SECRET_IN_ADDRESS = re.compile(r"://[^/@\s]+:[^/@\s]+@|[?&](sig|token|key)=", re.I)
_OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?")
_LOGGERS = ("dvc", "dvc_data", "dvc_objects")


@contextlib.contextmanager
def readable_disk_errors(root: Path) -> Iterator[None]:
    """Turn what a full or failing disk causes, anywhere, into an error that says so.

    Raises
    ------
    CrossfoldError
        For an error of the file system, or of the database in which DVC remembers digests.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        where = getattr(error, "filename", None) or root.resolve()
        why = getattr(error, "strerror", None) or error
        raise CrossfoldError(
            f"{where}: {why}", remedy="mend that, and run it again: it continues where it stopped"
        ) from error


class Storage:
    """The DVC repository of a checkout, open while inside `with`.

    Parameters
    ----------
    root
        The checkout.

    Raises
    ------
    CrossfoldError
        On entering, if there is no DVC repository.
    """

    def __init__(self, root: Path = Path()) -> None:
        self.root = root

    def __enter__(self) -> Storage:
        try:
            self.repository = Repo(os.fspath(self.root))
            # What it advises to add to git, publishing adds.
            self.repository.scm_context.quiet = True
        except DvcException as error:
            raise CrossfoldError(
                f"{self.root.resolve()}: DVC does not open it ({error})", remedy="run `dvc init`"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.repository.close()

    def refuse_tracked_credentials(self) -> None:
        """Refuse a configuration with credentials in a file that git tracks.

        Raises
        ------
        CrossfoldError
            Naming the remote and the key, not the value.
        """
        for name, settings in self.repository.config.read("repo").get("remote", {}).items():
            for key, value in settings.items():
                if _is_secret(key) or _SECRET_IN_ADDRESS.search(str(value)):
                    raise CrossfoldError(
                        f".dvc/config: remote `{name}` has a credential in `{key}`, and git tracks "
                        "this file",
                        remedy=f"run `dvc remote modify --local {name} {key} …`, which writes to "
                        ".dvc/config.local, remove the key from .dvc/config, and renew the "
                        "credential if the file was ever committed",
                    )

    def target(self, name: str) -> str:
        """Return how DVC knows a stage, or a pointer by its path, wherever it is asked from."""
        if name.endswith(".dvc"):
            return os.fspath(self.root / name)
        return f"{self.root / 'dvc.yaml'}:{name}"

    def add(self, path: str) -> None:
        """Put a file or a directory into the cache, and write its pointer beside it."""
        with self.readable(f"{path} was not put under DVC"):
            self.repository.add([os.fspath(self.root / path)])

    def commit(self, stage: str) -> None:
        """Put the outputs of a stage into the cache, and their digests into dvc.lock."""
        with self.readable(f"stage {stage} of dvc.yaml was not committed"):
            self.repository.commit(target=self.target(stage), force=True)

    def outputs(self, targets: Sequence[str] | None) -> list[Output]:
        """Return what DVC keeps for stages and pointers; None: for all of them."""
        found: list[Output] = []
        names: list[str | None] = [None] if targets is None else [*map(self.target, targets)]
        for name in names:
            for info in self.repository.stage.collect_granular(name):
                kept = (one for one in info.stage.outs if one.use_cache and one.hash_info)
                found += [one for one in kept if one not in found]
        return found

    def path_of(self, output: Output) -> str:
        """Return the path of an output from the root of the checkout."""
        return Path(os.path.relpath(output.fs_path, self.root.resolve())).as_posix()

    def files_of(self, output: Output) -> dict[str, str] | None:
        """Return the files of an output and their digests; None where their list is not here."""
        path, digest = self.path_of(output), output.hash_info.value
        if not output.hash_info.isdir:
            return {path: digest}
        try:
            listed = json.loads(self.object_path(digest).read_text(encoding="utf-8"))
            return {f"{path}/{entry['relpath']}": entry["md5"] for entry in listed}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_cached(self, digest: str) -> bool:
        """Whether an object is in the cache."""
        return self.object_path(digest).is_file()

    def object_path(self, digest: str) -> Path:
        """Return where an object lies in the cache."""
        return Path(self.repository.cache.local.oid_to_path(digest))

    def upload(self, targets: Sequence[str], remote: str = "") -> int:
        """Upload what the remote lacks of stages and pointers, and return the number of objects.

        DVC's own push takes it for success when the cache lacks an object, and does not look for
        the files of a directory that it has once seen in the remote.

        Raises
        ------
        CrossfoldError
            Unless the remote has all of it afterwards.
        """
        cache = self.repository.cache.local
        wanted: dict[str, str] = {}
        for output in self.outputs(targets):
            path = self.path_of(output)
            wanted[output.hash_info.value] = path
            files = self.files_of(output) or {}
            wanted |= {digest: file for file, digest in files.items()}
        lost = sorted(path for digest, path in wanted.items() if not self.is_cached(digest))
        if lost:
            raise CrossfoldError(
                f"DVC did not put {len(lost)} files into its cache, such as {lost[0]}",
                remedy="make room for it (`dvc cache dir` says where it is), and publish again",
            )
        with self.readable("what is published was not uploaded whole") as said:
            storage = self.repository.cloud.get_remote_odb(remote or None, "push")
            objects = {HashInfo("md5", digest) for digest in wanted}
            with TqdmCallback(desc="Uploading", unit="file", disable=None) as callback:
                result = transfer(cache, storage, objects, cache_odb=cache, callback=callback)
            if result.failed:
                first = sorted(wanted[str(one.value)] for one in result.failed)[0]
                reasons = self.without_secrets("; ".join(dict.fromkeys(said)))
                raise CrossfoldError(
                    f"{len(result.failed)} files were not uploaded, such as {first}: {reasons}",
                    remedy="mend that, and publish again: nobody sees anything of it yet",
                )
            return len(result.transferred)

    def download(self, digests: Collection[str], remote: str = "") -> tuple[int, dict[str, str]]:
        """Download objects that the cache lacks.

        Returns
        -------
        downloaded, lost
            Number of objects that are new; and why others could not be had.
        """
        cache = self.repository.cache.local
        wanted = {digest for digest in digests if not self.is_cached(digest)}
        with self.readable("nothing could be pulled"):
            storage = self.repository.cloud.get_remote_odb(remote or None, "pull")
            storage.fs.exists(storage.path)  # so that a remote that refuses is said to do so
            # DVC deletes what it finds damaged in a folder.
            is_folder = storage.fs.protocol == "local"
            there = {one for one in wanted if is_folder and storage.exists(one)}
            objects = {HashInfo("md5", digest) for digest in wanted}
            with TqdmCallback(desc="Downloading", unit="file", disable=None) as callback:
                transfer(storage, cache, objects, verify=True, cache_odb=cache, callback=callback)
            lost = {digest for digest in wanted if not self.is_cached(digest)}
            reasons = {
                digest: "is damaged in the remote"
                if digest in there or (not is_folder and storage.exists(digest))
                else "is missing in the remote"
                for digest in lost
            }
        return len(wanted) - len(lost), reasons

    def embedded_folder(self, remote: str = "") -> str | None:
        """Return where the objects of a remote lie in this checkout; None if they lie elsewhere.

        Raises
        ------
        CrossfoldError
            If there is no such remote, or none at all.
        """
        with self.readable("DVC does not know where to publish"):
            objects = self.repository.cloud.get_remote_odb(remote or None, "push")
        folder, root = Path(objects.path).resolve(), self.root.resolve()
        if objects.fs.protocol != "local" or not folder.is_relative_to(root):
            return None
        return folder.relative_to(root).as_posix()

    def embedded_objects(self, remote: str = "") -> list[str]:
        """Return the whole objects of a remote that lies in this checkout, by their paths."""
        folder = self.embedded_folder(remote)
        if not folder:
            return []
        place = self.root / folder
        names = (file.relative_to(place).as_posix() for file in place.rglob("*"))
        # What DVC is writing, or was killed while writing, has another name.
        return sorted(f"{folder}/{name}" for name in names if _OBJECT.fullmatch(name))

    @contextlib.contextmanager
    def readable(self, what: str) -> Iterator[list[str]]:
        """Turn an error of DVC into one that says why, without secrets.

        Yields
        ------
        list of str
            What DVC has logged as an error or a warning so far.
        """
        said: list[str] = []
        handler = _Collecting(said)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(handler)
        try:
            yield said
        except CrossfoldError:
            raise
        except Exception as error:  # what a cloud's own package raises, DVC passes on
            reasons = "; ".join(dict.fromkeys([*_chain(error), *said]))
            raise CrossfoldError(
                self.without_secrets(f"{what}: {reasons}"),
                remedy="mend that, and run it again: it continues where it stopped",
            ) from None
        finally:
            for name in _LOGGERS:
                logging.getLogger(name).removeHandler(handler)

    def without_secrets(self, text: str) -> str:
        """Blank credentials of the configuration and the environment in a text."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, "***")
        text = re.sub(r"(://[^/@\s:]+:)[^/@\s]+@", r"\1***@", text)
        return re.sub(r"([?&](?:sig|token|key)=)[^&\s'\"]+", r"\1***", text, flags=re.I)

    def _secrets(self) -> Iterator[str]:
        remotes: dict[str, dict[str, Any]] = self.repository.config.get("remote", {})
        settings = [item for remote in remotes.values() for item in remote.items()]
        for key, value in [*settings, *os.environ.items()]:
            if _is_secret(key) and len(str(value)) >= 6:
                yield str(value)
                # A connection string is made of parts; any of them may be what an error repeats.
                for part in re.split(r"[;\s]", str(value)):
                    name, _, secret = part.partition("=")
                    if _is_secret(name) and len(secret) >= 6:
                        yield secret


class _Collecting(logging.Handler):
    """Collects warnings and errors, with the reason that DVC gives only as a traceback."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        reasons = _chain(record.exc_info[1]) if record.exc_info and record.exc_info[1] else []
        self._said.append(": ".join([record.getMessage(), *reasons]))


def _chain(error: BaseException) -> list[str]:
    """Messages of an error and its causes."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 4:
        texts.append(str(cause).strip().partition("\n")[0] or type(cause).__name__)
        cause = cause.__cause__
    return list(dict.fromkeys(texts))


def _is_secret(key: str) -> bool:
    return bool(_SECRET.search(key)) and not _NOT_SECRET.search(key)
