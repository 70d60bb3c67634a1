"""`crossfold config show`: a model as it is after inheritance, with where each value comes from."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from crossfold.commands.publish import add_configfile


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("config", help="show a model with where its values come from")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="a model, its bases merged in, as YAML with comments")
    show.add_argument("model", metavar="MODEL", help="name of the model")
    add_configfile(show)
    show.set_defaults(run=_show)


def _show(parsed: Namespace) -> None:
    from crossfold.config.shown import show_model

    for line in show_model(parsed.model, [Path("config.yaml"), *parsed.configfile]):
        print(line)
