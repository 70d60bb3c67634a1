"""What Snakemake remembers of the files that it made, in .snakemake/metadata."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

FORMAT = 6
"""Version of Snakemake's records that is read and written here."""

Record = dict[str, Any]

_METADATA = Path(".snakemake", "metadata")
_LOCKS = Path(".snakemake", "locks")
_LONGEST_NAME = 254
TIMESTAMP = ".snakemake_timestamp"
"""File in a directory whose time Snakemake takes for that of the directory."""


def read_records(root: Path) -> Iterator[tuple[str, Record]]:
    """Yield path and record of every file that Snakemake has made and remembers.

    Raises
    ------
    CrossfoldError
        If records were written by a version of Snakemake that has another form of them.
    """
    folder = root / _METADATA
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            # Long names are split: all but the last part are folders that start with @.
            parts = file.relative_to(folder).parts
            name = "".join(part.removeprefix("@") for part in parts)
            path = urlsafe_b64decode(name).decode()
            found = _read(file)
            if found:
                yield path, found


def read_record(root: Path, path: str) -> Record | None:
    """Return the record of a file, or None if Snakemake knows nothing of it."""
    return _read(_place(root, path))


def write_record(root: Path, path: str, record: Record) -> None:
    """Make Snakemake remember how a file was made."""
    place = _place(root, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    # Snakemake takes records without this folder for those of an old version, and migrates them.
    (root / ".snakemake" / "incomplete").mkdir(exist_ok=True)
    complete = {
        "shellcmd": None,
        "code": None,
        "record_format_version": FORMAT,
        "conda_env": None,
        "container_img_url": None,
        "software_stack_hash": None,
        "job_hash": None,
        "incomplete": False,
        "external_jobid": None,
    }
    with atomic_path(place) as temporary:
        temporary.write_text(json.dumps(complete | record), encoding="utf-8")


def forget_record(root: Path, path: str) -> None:
    """Make Snakemake forget how a file was made."""
    _place(root, path).unlink(missing_ok=True)


def modified(path: Path) -> float:
    """Return when a file or directory was modified, as Snakemake sees it."""
    timestamp = path / TIMESTAMP
    return (timestamp if timestamp.exists() else path).stat().st_mtime


def ensure_timestamp(directory: Path) -> None:
    """Give a directory the file whose time counts to Snakemake."""
    (directory / TIMESTAMP).touch()


def has_timestamp(directory: Path) -> bool:
    """Whether a directory was made by Snakemake, or restored."""
    return (directory / TIMESTAMP).exists()


def raise_timestamp(directory: Path, seconds: float) -> None:
    """Let Snakemake see that a directory was modified at `seconds`, if it does not know yet."""
    timestamp = directory / TIMESTAMP
    if timestamp.stat().st_mtime < seconds:
        os.utime(timestamp, (seconds, seconds))


def refuse_while_running(root: Path) -> None:
    """Refuse to touch records while Snakemake runs.

    Raises
    ------
    CrossfoldError
        If a lock of Snakemake is there.
    """
    if is_running(root):
        raise CrossfoldError(
            "Snakemake is running in this folder, or was killed",
            remedy="wait until it ends; if none runs: snakemake --unlock",
        )


def is_running(root: Path) -> bool:
    """Whether Snakemake runs in a folder, or was killed there."""
    return any((root / _LOCKS).glob("*.lock"))


def _place(root: Path, path: str) -> Path:
    name = urlsafe_b64encode(path.encode()).decode()
    parts = [name[start : start + _LONGEST_NAME] for start in range(0, len(name), _LONGEST_NAME)]
    return root.joinpath(_METADATA, *(f"@{part}" for part in parts[:-1]), parts[-1])


def _read(file: Path) -> Record | None:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        return None  # Snakemake as well ignores a record that was not written to its end.
    version = record.get("record_format_version")
    if version != FORMAT:
        raise CrossfoldError(
            f"{file}: a record of version {version}, not {FORMAT}: from another Snakemake",
            remedy="use the Snakemake of locks/core.txt, and run `snakemake` once more",
        )
    return record
