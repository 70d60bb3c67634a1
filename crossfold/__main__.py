"""Crossfold's commands: results published and checked, models explained, and runs watched."""

from __future__ import annotations

import argparse
import signal
import sys

from crossfold import __version__
from crossfold.commands import (
    config,
    crate,
    explain,
    models,
    monitor,
    predict,
    publish,
    pull,
    reproduce,
    restore,
    runs,
    search,
    track,
    verify,
)
from crossfold.errors import CrossfoldError

# Each has `add_parser(commands)`, and the `run(parsed)` that it names there; what takes time to
# import is imported by `run`.
COMMANDS = (
    *(publish, pull, verify, reproduce, restore, explain, config),
    *(track, crate, runs, monitor, models, predict, search),
)


def main(arguments: list[str] | None = None) -> int | None:
    """Do what the command line says, and return the exit status; None is success."""
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed)
    except CrossfoldError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crossfold", description=__doc__)
    parser.add_argument("--version", action="version", version=f"crossfold {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    # Whoever ends this process ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
