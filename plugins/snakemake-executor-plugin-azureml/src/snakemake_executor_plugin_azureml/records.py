"""What a working directory has submitted, so that a later run picks it up and nobody pays twice."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from snakemake_executor_plugin_azureml.jobs import DIGEST_LENGTH

FOLDER = Path(".snakemake/azureml")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A submission.

    Attributes
    ----------
    name
        Of the job in the workspace.
    fingerprint
        Digest of all that the job depends on.
    submission
        How many times this work has been submitted, this one included.
    batch
        Tag that the job is listed by together with the jobs submitted around it.
    experiment
        That it is listed in.
    outcome
        What became of it; empty as long as no run has collected it.
    """

    name: str
    fingerprint: str
    submission: int
    batch: str
    experiment: str
    outcome: str = ""


class Records:
    """The submissions of a working directory, one file each.

    A record is written before its job is submitted: a run that is killed in between leaves a name
    that no job has, never a job that nobody knows.

    Attributes
    ----------
    workflow
        Identity of the working directory, made when it is first asked for. Two clones of a workflow
        do the same work under different names, so that neither takes the other's jobs for its own.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder / "jobs"
        identity = folder / "workflow_id"
        if not identity.exists():
            _write(identity, uuid.uuid4().hex[:12])
        self.workflow = identity.read_text(encoding="ascii").strip()

    def digest(self, fingerprint: str) -> str:
        """What stands in the names of jobs that do this work for this working directory."""
        return hashlib.sha256(f"{self.workflow}{fingerprint}".encode()).hexdigest()[:DIGEST_LENGTH]

    def of(self, fingerprint: str) -> list[Record]:
        """The submissions of this work, oldest first."""
        paths = self._folder.glob(f"*-{self.digest(fingerprint)}-*.json")
        found = [record for path in paths if (record := _read(path)) is not None]
        same = (record for record in found if record.fingerprint == fingerprint)
        return sorted(same, key=lambda record: record.submission)

    def save(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        text = json.dumps(dataclasses.asdict(record), indent=1)
        _write(self._folder / f"{record.name}.json", text)

    def close(self, record: Record, outcome: str) -> None:
        """Note that nothing is left to pick up."""
        self.save(dataclasses.replace(record, outcome=outcome))


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # A record that cannot be read is a job that cannot be picked up, not a broken workflow.
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
