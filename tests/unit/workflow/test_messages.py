from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossfold import workflow
from crossfold.errors import CrossfoldError

SAY = """
import sys
from pathlib import Path
from crossfold.workflow import messages
messages.STARTED = float(sys.argv[2])
messages.say_what_failed(Path(sys.argv[1]))
print("the last words of Snakemake", file=sys.stderr)
"""


def last_words(logs: Path, started: float) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SAY, str(logs), str(started)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.partition("the last words of Snakemake")[2]


def test_errors_are_said_once_and_last(
    snakemake: SimpleNamespace, tmp_path: Path, mendable: CrossfoldError
) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise mendable
    (tmp_path / "logs" / "fine.log").write_text("2026-11-22 INFO all is well")
    said = last_words(tmp_path / "logs", started=0)
    assert said.strip() == f"Error in train_fold of model M, fold 0: {mendable}"


def test_errors_of_an_earlier_run_are_not_said(
    snakemake: SimpleNamespace, tmp_path: Path, mendable: CrossfoldError
) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise mendable
    modified = Path(snakemake.log[0]).stat().st_mtime
    assert last_words(tmp_path / "logs", started=modified + 1).strip() == ""


def test_a_configuration_error_ends_with_its_message(mendable: CrossfoldError) -> None:
    with pytest.raises(SystemExit) as stopped, workflow.readable_errors():
        raise mendable
    assert stopped.value.code == f"\nError in the configuration: {mendable}\n"
