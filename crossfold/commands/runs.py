"""`crossfold runs`: a table of runs."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from crossfold.commands.azureml import Choice, Workspace
from crossfold.commands.choosing import add_choice, choice_of
from crossfold.commands.local import STATES, Training, find_trainings
from crossfold.errors import CrossfoldError

# A unit is used from two of it on.
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("runs", help="list runs with state, age, compute and link")
    add_choice(parser, watched="all")
    parser.set_defaults(run=lambda parsed: show_runs(choice_of(parsed), parsed))


def open_workspace(choice: Choice, options: Namespace) -> Workspace | None:
    """The workspace that is meant; None for the trainings of this folder.

    Raises
    ------
    CrossfoldError
        If runs of a workspace are asked for by name and there is none.
    """
    if options.local:
        return None
    try:
        return Workspace(options.profile, options.sdk)
    except CrossfoldError as error:
        if choice.experiment or choice.run_ids:
            raise
        reason = error.message.partition("\n")[0]
        print(f"{reason}\nThese are the trainings of this folder:", file=sys.stderr)
        return None


def show_runs(choice: Choice, options: Namespace) -> None:
    """Print the runs.

    Raises
    ------
    CrossfoldError
        If there is no such run, status or workspace.
    """
    workspace = open_workspace(choice, options)
    header: tuple[str, ...]
    if workspace is None:
        header = ("model", "fold", "state", "epochs", "last change")
        trainings = find_trainings(options.state_dir, status=choice.status or STATES)
        rows = [_training_row(training) for training in trainings]
    else:
        header = ("name", "what", "state", "age", "compute", "experiment", "link")
        rows = [_run_row(run) for run in workspace.runs(choice)]
    print(table_text(header, rows) if rows else "There are no such runs.")


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table with columns two spaces apart."""
    columns = zip_longest(header, *rows)
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join(lines)


def duration_text(seconds: float | None) -> str:
    """Say a duration in one unit.

    Examples
    --------
    >>> duration_text(59), duration_text(3600), duration_text(86400), duration_text(300000)
    ('59 s', '60 min', '24 h', '3 d')
    """
    if seconds is None:
        return ""
    size, unit = next(
        (size, unit) for size, unit in _UNITS if seconds >= 2 * size or size == _UNITS[-1][0]
    )
    return f"{int(seconds // size)} {unit}"


def _training_row(training: Training) -> tuple[str, ...]:
    epochs = "" if training.epochs is None else str(training.epochs)
    age = f"{duration_text(training.age_s)} ago"
    return training.model, str(training.fold), training.state, epochs, age


def _run_row(run: Any) -> tuple[str, ...]:
    age, compute = duration_text(run.age_s), run.compute or "serverless"
    return run.name, run.display_name, run.state, age, compute, run.experiment, run.url
