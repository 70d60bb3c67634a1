"""What a user reads at the end of a run, whether it went well or not."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossfold import paths
from crossfold.errors import CrossfoldError

STARTED = time.time()
ERROR = f" {logging.getLevelName(logging.ERROR)} "


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """End with the message of an error of the configuration, where Snakemake adds a traceback."""
    try:
        yield
    except CrossfoldError as error:
        sys.exit(f"\nError in the configuration: {error}\n")


def say_what_failed(logs: Path = Path("logs")) -> None:
    """Print the errors of this run, once and after all that Snakemake has to say."""
    failed = [file for file in logs.rglob("*.log") if file.stat().st_mtime >= STARTED]
    texts = (file.read_text(encoding="utf-8") for file in sorted(failed))
    errors = dict.fromkeys(text.rpartition(ERROR)[2].strip() for text in texts if ERROR in text)
    text = "".join(f"\nError {error}\n" for error in errors)
    atexit.register(print, text, file=sys.stderr)


def say_what_was_made(workflow: Any) -> None:
    """Print the files that the user asked for."""
    made: list[str] = []
    for target in workflow.dag.targetjobs:
        made += [str(file) for file in (target.output or target.input)]
    made = sorted(file for file in set(made) if Path(file).exists())
    print("\nMade:\n" + "\n".join(f"  {file}" for file in made))
    tables = [file for file in made if Path(file).name == Path(paths.ENSEMBLE_METRICS).name]
    if tables:
        print(f"\nShow the metrics: python -m crossfold.paper.tables {' '.join(tables)}")
