"""Runs here and on Azure Machine Learning: list them, or watch their learning curves.

Without a workspace, or with --local, these are the trainings of this folder.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from crossfold.commands.azureml import Choice
from crossfold.commands.runs import show_runs
from crossfold.errors import CrossfoldError

DEFAULT_PORT = 6006
DEFAULT_FOLDER = Path(".state/tensorboard")


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    parsed = _parser().parse_args(arguments)
    choice = Choice(experiment=parsed.experiment, run_ids=parsed.run_ids, status=parsed.status)
    try:
        if parsed.command == "runs":
            show_runs(choice, parsed)
        else:
            from crossfold.commands.monitor import monitor  # TensorBoard takes time to import

            monitor(choice, parsed, folder=parsed.folder, port=parsed.port)
    except CrossfoldError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crossfold", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    runs = commands.add_parser("runs", help="list runs with state, age, compute and link")
    monitor = commands.add_parser("monitor", help="show learning curves in TensorBoard")
    for command, watched in ((runs, "all"), (monitor, "all but Failed and Canceled")):
        _add_choice(command, watched)
    monitor.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"{DEFAULT_PORT}; 0 takes any that is free"
    )
    monitor.add_argument(
        "--folder",
        type=Path,
        default=DEFAULT_FOLDER,
        help=f"where event files are kept ({DEFAULT_FOLDER})",
    )
    return parser


def _add_choice(command: argparse.ArgumentParser, watched: str) -> None:
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--experiment", default="", metavar="NAME", help="default: the checked-out branch"
    )
    which.add_argument(
        "--run-ids", type=_listed, default=[], metavar="A,B", help="names of runs, with commas"
    )
    which.add_argument("--local", action="store_true", help="the trainings of this folder")
    command.add_argument(
        "--status", type=_listed, default=[], metavar="A,B", help=f"states; default: {watched}"
    )
    command.add_argument(
        "--profile",
        type=Path,
        default=Path("azureml"),
        metavar="FOLDER",
        help="Snakemake profile that the runs were sent with (azureml)",
    )
    command.add_argument(
        "--sdk", choices=["v2", "v1"], default="", help="default: what the profile says, or v2"
    )
    command.add_argument(
        "--state-dir",
        type=Path,
        default=Path(".state"),
        metavar="FOLDER",
        help="state_dir of config.yaml, where running trainings are (.state)",
    )


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


if __name__ == "__main__":
    # Whoever ends this process ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
