"""`crossfold restore`: after a clone or pull, let Snakemake know what is as it was published."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossfold.workflow import Restored


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser(
        "restore", help="check published files, and let Snakemake take those that are as they were"
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help="published models; default: all that are here"
    )
    parser.set_defaults(run=_restore)


def _restore(parsed: Namespace) -> int:
    from crossfold.workflow import restore

    found = restore(parsed.models)
    print("\n".join(summary(found)))
    return 1 if found.differing else 0


def summary(found: Restored) -> Iterator[str]:
    """Yield what a user wants to know of what was restored, line by line."""
    yield f"{', '.join(found.models) or 'No model'}: {len(found.same)} files are as published."
    for files, what in (
        (found.made_here, "made here since, and kept"),
        (found.changed, "changed; what depends on it will run again"),
        (found.differing, "NOT as published; what depends on it will run again"),
    ):
        yield from (f"  {file}: {what}" for file in files)
    if found.missing:
        yield f"  {len(found.missing)} files are not here; what is here does without them."
    if found.differing:
        yield "Pull again, or let Snakemake make them: snakemake --forcerun " + " ".join(
            found.differing
        )
