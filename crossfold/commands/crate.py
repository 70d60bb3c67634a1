"""`crossfold crate`: a published model as one file for an archive such as Zenodo."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from crossfold.commands.publish import add_configfile, configfiles_of


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("crate", help="export a published model as an RO-Crate")
    parser.add_argument("model", metavar="MODEL", help="name of a published model")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder, or file .zip; must not exist",
    )
    parser.add_argument(
        "--with-images",
        action="store_true",
        help="the dataset's images and preprocessed copies of them as well",
    )
    add_configfile(parser)
    parser.set_defaults(run=_crate)


def _crate(parsed: Namespace) -> None:
    from crossfold.publishing.crate import write_crate

    crate = write_crate(
        parsed.model,
        parsed.output,
        configfiles=configfiles_of(parsed),
        with_images=parsed.with_images,
    )
    left_out = f", {crate.left_out} published files left out" if crate.left_out else ""
    print(f"{crate.path}: {crate.files} files{left_out}")
    print("Before you upload it, look for names and images of patients, the report included.")
