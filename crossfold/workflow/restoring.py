"""Give Snakemake its memory back after a clone, for what is what it was."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crossfold.workflow.provenance import (
    Job,
    is_remembered,
    looked_up,
    models_with_provenance,
    read_provenance,
    remember_published,
)
from crossfold.workflow.records import (
    ensure_timestamp,
    forget_record,
    is_running,
    modified,
    read_record,
    refuse_while_running,
    write_record,
)

if TYPE_CHECKING:
    from crossfold.provenance.digests import Digests

LARGEST_CHECKSUM = 1_000_000
"""Bytes of the largest file whose content Snakemake compares, by default."""

# A second before the job that read it: file systems that round times must not make it newer.
_JUST_BEFORE_S = 1.0
# Times that differ by less are the same, written by another file system.
_ROUNDING_S = 1e-3


@dataclass
class Restored:
    """What `restore` has found."""

    models: list[str]
    same: list[str] = field(default_factory=list)
    """Files that are what they were when the model was published."""
    differing: list[str] = field(default_factory=list)
    """Files of a model's results that are not."""
    changed: list[str] = field(default_factory=list)
    """Images, tables and scripts that were read and are not: what depends on them runs again."""
    made_here: list[str] = field(default_factory=list)
    """Files that Snakemake has made here since, and remembers itself."""
    missing: list[str] = field(default_factory=list)
    """Files that are not here."""


def restore(models: Sequence[str] = (), root: Path = Path()) -> Restored:
    """Check published files against their provenance, and make Snakemake take those that match.

    Files that match get the times at which they were finished, and Snakemake its records of them.
    A file that does not is modified now, whatever its time says, so that all that depends on it
    runs again; what Snakemake has made here since stays as it is.

    Parameters
    ----------
    models
        Names of published models; all that have a provenance.json when empty.
    root
        The checkout.

    Raises
    ------
    CrossfoldError
        If Snakemake runs here, or a model has no provenance.
    """
    from crossfold.provenance.digests import Digests  # takes time to import

    refuse_while_running(root)
    names = list(models) or models_with_provenance(root)
    jobs = [job for name in names for job in read_provenance(name, root)]
    with Digests(root) as digests:
        found = _Restoration(root, jobs, digests).run(names)
    for name in names:
        remember_published(name, root)
    return found


def notice_published(root: Path = Path()) -> None:
    """Restore the models that git has brought since, and say which.

    Without its records, Snakemake takes every file of a clone for up to date, whatever the
    configuration says. While it runs elsewhere in this folder, nothing is restored.

    Raises
    ------
    CrossfoldError
        If the provenance of a model cannot be read.
    """
    unknown = [name for name in models_with_provenance(root) if not is_remembered(name, root)]
    if unknown and not is_running(root):
        found = restore(unknown, root)
        print(
            f"{', '.join(unknown)}: {len(found.same)} published files checked, so that Snakemake "
            "can tell what has changed since.",
            file=sys.stderr,
        )


class _Window(NamedTuple):
    """When a file may have been modified, going by the jobs that read it."""

    after: float | None
    """The end of the last job that read something else, which has to run again."""
    before: float | None
    """The start of the first job that read just this, which has not."""

    def allows(self, seconds: float, *, made: bool) -> bool:
        # Of what a job has made, Snakemake itself has judged whether it came too late.
        early_enough = made or self.before is None or seconds < self.before
        return early_enough and (self.after is None or seconds > self.after)

    def inside(self) -> float | None:
        """Return a time inside the window; None if there is none."""
        if self.before is None:
            return None
        if self.after is None:
            return self.before - _JUST_BEFORE_S
        return (self.after + self.before) / 2 if self.after < self.before else None


class _Restoration:
    """One call of `restore`."""

    def __init__(self, root: Path, jobs: list[Job], digests: Digests) -> None:
        self.root, self.jobs, self.digests = root, jobs, digests
        self.makers: dict[str, list[Job]] = {}
        self.readers: dict[str, list[Job]] = {}
        for job in jobs:
            for path in job.outputs:
                self.makers.setdefault(path, []).append(job)
            for path in job.consumed:
                self.readers.setdefault(path, []).append(job)
        digest = looked_up(digests)
        self.now = {path: now for path in {*self.makers, *self.readers} if (now := digest(path))}

    def run(self, models: list[str]) -> Restored:
        found = Restored(models)
        for path in sorted({*self.makers, *self.readers}):
            if path not in self.now:
                found.missing.append(path)
            elif path in self.makers:
                self._restore_output(path, found)
            else:
                self._restore_source(path, found)
        for job in self.jobs:
            self._remember(job, found)
        return found

    def _maker(self, path: str) -> Job | None:
        """Return the job that made a file as it is now; the last of them if models disagree."""
        same = [job for job in self.makers[path] if job.outputs[path] == self.now.get(path)]
        return max(same, key=lambda job: job.ended[path], default=None)

    def _window(self, path: str) -> _Window:
        now, readers = self.now[path], self.readers.get(path, [])
        ends = [max(job.ended.values()) for job in readers if job.consumed[path] != now]
        starts = [job.started for job in readers if job.consumed[path] == now]
        return _Window(max(ends, default=None), min(starts, default=None))

    def _restore_output(self, path: str, found: Restored) -> None:
        maker, file = self._maker(path), self.root / path
        if self._made_here(path):
            found.made_here.append(path)
        elif maker:
            found.same.append(path)
            if file.is_dir():
                ensure_timestamp(file)
            window, ended = self._window(path), maker.ended[path]
            self._set_time(path, ended if window.allows(ended, made=True) else window.inside())
        else:
            kind = found.differing if path.startswith("results/") else found.changed
            kind.append(path)
            forget_record(self.root, path)
            self._set_time(path, None)

    def _restore_source(self, path: str, found: Restored) -> None:
        """Give a file that no job has made a time that is right for all that read it."""
        window = self._window(path)
        (found.changed if window.after is not None else found.same).append(path)
        if not window.allows(modified(self.root / path), made=False):
            self._set_time(path, window.inside())

    def _made_here(self, path: str) -> bool:
        """Whether Snakemake has made a file after what was published, and knows that itself."""
        own = read_record(self.root, path)
        if own is None or any(_same_time(own["endtime"], j.ended[path]) for j in self.makers[path]):
            return False
        return _same_time(own["endtime"], modified(self.root / path))

    def _set_time(self, path: str, seconds: float | None) -> None:
        """Set the time of a file; None is now, and after all that may have read it."""
        if seconds is None:
            after = self._window(path).after
            seconds = max(time.time(), (after or 0) + _JUST_BEFORE_S)
        file = self.root / path
        # Files in a directory may be newer than Snakemake sees.
        if file.is_dir() or not _same_time(modified(file), seconds):
            self.digests.set_time(path, seconds)

    def _remember(self, job: Job, found: Restored) -> None:
        """Give Snakemake its record of a job, unless one of its files is not what it made.

        Also of files that are missing: they are not needed, but a change that asks for another
        result has to be seen all the same.
        """
        own = {*found.made_here, *found.differing, *found.changed}
        if own & {*job.outputs} or any(
            path in self.now and self._maker(path) is not job for path in job.outputs
        ):
            return
        record = {
            "rule": job.rule,
            "input": sorted([*job.inputs, *job.repeated]),
            "log": job.log,
            "params": job.params,
            "starttime": job.started,
            "input_checksums": self._checksums(job.inputs),
        }
        for path, ended in job.ended.items():
            write_record(self.root, path, record | {"endtime": ended})

    def _checksums(self, inputs: dict[str, str | None]) -> dict[str, str]:
        """Return what Snakemake compares the content of small files by, for those that match."""
        files = {
            path: self.root / path
            for path, digest in inputs.items()
            if digest is not None and self.now.get(path) == digest
        }
        return {path: _sha256(file) for path, file in files.items() if _is_small(file)}


def _same_time(a: float, b: float) -> bool:
    return abs(a - b) < _ROUNDING_S


def _is_small(file: Path) -> bool:
    return file.is_file() and 0 < file.stat().st_size <= LARGEST_CHECKSUM


def _sha256(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
