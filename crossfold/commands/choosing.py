"""Options that say which runs a command is about."""

from __future__ import annotations

import argparse
from pathlib import Path

from crossfold.commands.azureml import Choice


def add_choice(command: argparse.ArgumentParser, *, watched: str) -> None:
    """Add the options to a command; `watched` says which states it is about without `--status`."""
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


def choice_of(parsed: argparse.Namespace) -> Choice:
    """Return the choice that the options make."""
    return Choice(experiment=parsed.experiment, run_ids=parsed.run_ids, status=parsed.status)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
