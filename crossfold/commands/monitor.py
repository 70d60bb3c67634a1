"""`crossfold monitor`: learning curves of running and finished trainings."""

from __future__ import annotations

import glob
import shutil
import sys
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path
from typing import Any

from crossfold.commands.azureml import Choice, Workspace
from crossfold.commands.choosing import add_choice, choice_of
from crossfold.commands.local import STATES, find_trainings
from crossfold.commands.runs import open_workspace
from crossfold.errors import CrossfoldError

DEFAULT_PORT = 6006
DEFAULT_FOLDER = Path(".state/tensorboard")


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("monitor", help="show learning curves in TensorBoard")
    add_choice(parser, watched="all but Failed and Canceled")
    parser.add_argument("--model", default="", metavar="NAME", help="show this model alone")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"{DEFAULT_PORT}; 0 takes any that is free"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=DEFAULT_FOLDER,
        help=f"where event files are kept ({DEFAULT_FOLDER})",
    )
    parser.set_defaults(
        run=lambda parsed: monitor(
            choice_of(parsed), parsed, folder=parsed.folder, port=parsed.port
        )
    )


def monitor(choice: Choice, options: Namespace, *, folder: Path, port: int) -> None:
    """Serve the curves until the user stops it, and keep them up to date.

    Parameters
    ----------
    choice
        Which runs.
    options
        `local`, `profile`, `sdk`, `state_dir` and `model` of the command line.
    folder
        Where event files are kept.
    port
        Where TensorBoard listens; 0 takes any that is free.

    Raises
    ------
    CrossfoldError
        If there is no such run, status or workspace, or TensorBoard does not start.
    """
    # TensorBoard takes time to import.
    from crossfold.commands.curves import EVENT_FILES, Curves
    from crossfold.commands.tensorboard import free_port, keep_updating, serving

    port = free_port(port)
    workspace = open_workspace(choice, options)
    jobs = folder / "jobs"
    curves = Curves(folder / "curves")

    def update() -> None:
        for label, table in _tables(workspace, choice, options, jobs).items():
            if not options.model or label.startswith(f"{options.model}/"):
                curves.update(label, table)

    def update_patiently() -> None:
        try:
            update()
        except CrossfoldError as error:  # the next time may be better
            print(f"Not up to date: {error.message}", file=sys.stderr)

    update()
    with serving(folder, port) as process:
        # Path.rglob does not follow links.
        if not glob.glob(f"{folder}/**/{EVENT_FILES}", recursive=True):  # noqa: PTH207
            print("There are no learning curves yet.")
        print(f"TensorBoard is at http://localhost:{port}")
        print("Only this machine can open it. Stop it with Ctrl-C.", flush=True)
        keep_updating(process, update_patiently)
    curves.close()


def _tables(
    workspace: Workspace | None, choice: Choice, options: Namespace, jobs: Path
) -> dict[str, Path]:
    """Every training.csv by the label of its curves; event files of runs are put into `jobs`."""
    if workspace is None:
        _forget_others(jobs, ())
        trainings = find_trainings(options.state_dir, status=choice.status or STATES)
        return {training.label: training.table for training in trainings if training.table}
    names, tables = workspace.sync(choice, jobs)
    _forget_others(jobs, names)
    return tables


def _forget_others(jobs: Path, names: Collection[str]) -> None:
    """Delete what was downloaded of runs that are not shown."""
    for folder in jobs.glob("*/"):
        if folder.name not in names:
            shutil.rmtree(folder)
