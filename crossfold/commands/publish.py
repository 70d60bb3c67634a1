"""`crossfold publish`: put a model under DVC and git, and upload it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser(
        "publish", help="put a model that is up to date under DVC and git, and upload it"
    )
    parser.add_argument("model", metavar="MODEL", help="name of the model in config.yaml")
    parser.add_argument(
        "--allow-uncommitted",
        action="store_true",
        help="although changes are not committed; the manifest says so",
    )
    add_configfile(parser)
    add_remote(parser)
    parser.set_defaults(run=_publish)


def add_configfile(parser: Any) -> None:
    """Add the option for configuration files that are laid over config.yaml."""
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="laid over config.yaml, as Snakemake does",
    )


def add_remote(parser: Any) -> None:
    """Add the option for the DVC remote."""
    parser.add_argument("--remote", default="", metavar="NAME", help="DVC remote (the default one)")


def configfiles_of(parsed: Namespace) -> list[Path]:
    """Return all configuration files, the strongest last."""
    return list(dict.fromkeys([Path("config.yaml"), *parsed.configfile]))


def _publish(parsed: Namespace) -> None:
    from crossfold.publishing.publish import publish

    published = publish(
        parsed.model,
        configfiles=configfiles_of(parsed),
        allow_uncommitted=parsed.allow_uncommitted,
        remote=parsed.remote,
    )
    print(f"{parsed.model}: {len(published.manifest.files)} files, {published.uploaded} uploaded")
    if published.manifest.dirty:
        print("The manifest says that there were uncommitted changes.")
    if published.commit is None:
        print("Published already, nothing to commit.")
    else:
        print(f"Committed {published.commit[:10]}. Next: git push")
