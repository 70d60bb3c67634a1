"""`crossfold reproduce`: train a published model again from scratch, and compare."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from crossfold.commands.publish import add_configfile, configfiles_of

_FOLDER = ".state/reproduced/{model}"
_SHOWN = 20


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser(
        "reproduce", help="train a published model again in an empty folder, and compare"
    )
    parser.add_argument("model", metavar="MODEL", help="name of a published model")
    parser.add_argument(
        "--folder", type=Path, help=f"empty, or to be made ({_FOLDER.format(model='MODEL')})"
    )
    parser.add_argument(
        "--commit", default="", metavar="REVISION", help="whose code to run; the published one's"
    )
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="all of them")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="DICE",
        help="largest difference of the mean Dice of a structure (0.005)",
    )
    add_configfile(parser)
    parser.set_defaults(run=_reproduce)


def _reproduce(parsed: Namespace) -> int:
    from crossfold.publishing.reproduce import TOLERANCE, reproduce

    made = reproduce(
        parsed.model,
        parsed.folder or Path(_FOLDER.format(model=parsed.model)),
        configfiles=configfiles_of(parsed),
        commit=parsed.commit,
        cores=parsed.cores,
        tolerance=TOLERANCE if parsed.tolerance is None else parsed.tolerance,
    )
    print(f"\n{parsed.model}: {len(made.identical)} files have the same bytes", end="")
    print(f", {len(made.differing)} do not." if made.differing else ": all that were made again.")
    for path in made.differing[:_SHOWN]:
        print(f"  {path}")
    if len(made.differing) > _SHOWN:
        print(f"  … and {len(made.differing) - _SHOWN} more")
    if made.differing:
        print(f"\nMean Dice:\n{made.table.to_string(index=False, float_format='{:.5f}'.format)}")
    print(f"\nVerdict: {made.outcome} (tolerance {made.tolerance:g})")
    return int(made.outcome == "different")
