"""`crossfold explain`: where a file came from, and why Snakemake would make it again."""

from __future__ import annotations

from argparse import Namespace
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("explain", help="say where a file came from")
    parser.add_argument("file", metavar="FILE", help="a file below results/ or data/")
    parser.add_argument(
        "--configfile",
        nargs="+",
        default=[],
        metavar="FILE",
        help="files that you lay over config.yaml when you run Snakemake",
    )
    parser.set_defaults(run=_explain)


def _explain(parsed: Namespace) -> None:
    from crossfold.workflow import explain

    for line in explain(parsed.file, parsed.configfile):
        print(line)
