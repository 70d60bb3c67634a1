"""`crossfold pull`: download what is published, and let Snakemake know that it is up to date."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from crossfold.commands.publish import add_remote


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser(
        "pull", help="download published models, and check and restore what Snakemake knows of them"
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all of DVC's files")
    parser.add_argument(
        "--force", action="store_true", help="overwrite results that were made here"
    )
    add_remote(parser)
    parser.set_defaults(run=_pull)


def _pull(parsed: Namespace) -> int:
    from crossfold.publishing.pull import pull

    pulled = pull(parsed.models, remote=parsed.remote, force=parsed.force)
    restored = pulled.restored
    print(f"{pulled.downloaded} objects downloaded, {len(restored.same)} files as published")
    for what, files in (
        ("changed, so what depends on them runs again", restored.changed),
        ("NOT as published", restored.differing),
    ):
        if files:
            print(f"{len(files)} files {what}:", *files, sep="\n  ")
    if pulled.missing:
        print(f"{len(pulled.missing)} files could NOT be pulled:", *pulled.missing, sep="\n  ")
    return int(bool(pulled.missing or pulled.restored.differing))
