"""`crossfold verify`: check every file of published models against their manifests."""

from __future__ import annotations

from argparse import Namespace
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser(
        "verify", help="say which files of a published model were altered, or are missing"
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all published models")
    parser.set_defaults(run=_verify)


def _verify(parsed: Namespace) -> int:
    from crossfold.errors import CrossfoldError
    from crossfold.provenance.digests import Digests
    from crossfold.provenance.manifest import published_models, read_manifest, verify

    models = parsed.models or published_models()
    if not models:
        raise CrossfoldError("no model is published here", remedy="run `make publish MODEL=…`")
    with Digests() as digests:
        verdicts = [verify(read_manifest(model), digests) for model in models]
    for verdict in verdicts:
        print(verdict.summary)
        for difference in verdict.differences:
            print(f"  {difference}")
    return int(not all(verdict.as_published for verdict in verdicts))
