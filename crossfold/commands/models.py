"""`crossfold models`: what is registered, and what one of them is."""

from __future__ import annotations

import argparse
import textwrap
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossfold import paths
from crossfold.commands.runs import table_text
from crossfold.errors import CrossfoldError

if TYPE_CHECKING:
    from crossfold.registry.folder import FolderRegistry
    from crossfold.registry.registered import Registered
    from crossfold.registry.registering import Registry

_HEADER = ("name", "version", "current", "registered", "Dice", "commit", "where")
_WIDTH = 88


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    models = commands.add_parser("models", help="list registered models, or show, add, use one")
    _add_options(models)
    models.set_defaults(run=_list)
    actions = models.add_subparsers(metavar="ACTION")
    for name, run, argument, text in (
        ("show", _show, "REFERENCE", "say everything about a version, and check its files"),
        ("use", _use, "REFERENCE", "mark a version as the current one"),
        ("pull", _pull, "REFERENCE", "bring a version from AzureML to the registry folder"),
        ("add", _add, "BUNDLE", "register a bundle, such as results/Prostate/model"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("what", metavar=argument)
        # What stands before the name of the action counts as well.
        _add_options(action, default=argparse.SUPPRESS)
        action.set_defaults(run=run)
        if run is _add:
            action.add_argument(
                "--name", default="", help="of the model; default: as in the bundle"
            )


def _add_options(parser: argparse.ArgumentParser, default: Any = None) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--registry", type=Path, default=default, metavar="FOLDER", help="instead of config.yaml's"
    )
    place.add_argument(
        "--local",
        action="store_true",
        default=default or False,
        help="the registry folder, although an AzureML workspace is configured",
    )
    parser.add_argument(
        "--configfile",
        type=Path,
        nargs="+",
        default=default or [],
        metavar="FILE",
        help="laid over config.yaml, as Snakemake does",
    )
    parser.add_argument(
        "--profile",
        type=Path,
        default=default or Path("azureml"),
        metavar="FOLDER",
        help="Snakemake profile that names the workspace (azureml)",
    )
    parser.add_argument(
        "--sdk",
        choices=["v2", "v1"],
        default=default or "",
        help="default: what the profile says, or v2",
    )


def _folder(parsed: Namespace) -> FolderRegistry:
    from crossfold.registry.folder import FolderRegistry
    from crossfold.registry.references import read_section

    if parsed.registry:
        return FolderRegistry(parsed.registry)
    section = read_section(configfiles=parsed.configfile)
    return FolderRegistry(section.folder(), section.path)


def _registry(parsed: Namespace) -> Registry:
    """Return the registry that the pipeline would register in, or the folder that is named."""
    from crossfold.registry.references import read_section
    from crossfold.registry.registering import open_registry

    if parsed.registry or parsed.local:
        return _folder(parsed)
    section = read_section(configfiles=parsed.configfile)
    return open_registry(section, profile=parsed.profile, sdk=parsed.sdk)


def _list(parsed: Namespace) -> int:
    registry, folder = _registry(parsed), _folder(parsed)
    places = {place.shown: place.models() for place in (registry, folder)}
    rows = [_row(one) for models in places.values() for one in models.registered]
    damaged = [one for models in places.values() for one in models.damaged]
    if rows:
        print(table_text(_HEADER, sorted(rows, key=lambda row: (row[0], int(row[1]), row[-1]))))
    else:
        print(f"There are no models in {' and '.join(places)}. Register one:")
        print("crossfold models add results/<Model>/model")
    for copy, first in (pair for models in places.values() for pair in models.copies):
        print(f"{copy.id} is {first.id} once more: two registered it at the same moment")
    for one in damaged:
        print(f"{one.id} is damaged: {one.reason}")
    return int(bool(damaged))


def _row(one: Registered) -> tuple[str, ...]:
    dice = next((one.tags[key] for key in ("dice_test", "dice_val") if key in one.tags), "")
    mark, commit = "current" if one.current else "", one.tags.get("commit", "")[:10]
    return one.name, str(one.version), mark, one.registered[:10], dice, commit, one.where


def _show(parsed: Namespace) -> int:
    from crossfold.registry.bundles import BundleFiles
    from crossfold.registry.registered import Reference

    found = _registry(parsed).find(Reference.parse(parsed.what))
    print(f"{found.id}{', the current version' if found.current else ''}\n")
    print(textwrap.fill(found.description, _WIDTH), end="\n\n")
    about = {"registered": found.registered, "marked": found.marked or "never"}
    about |= {"in": found.where, "digest": found.digest}
    for key, value in (about | dict(sorted(found.tags.items()))).items():
        print(f"{key:<12}{value}")
    pulled = found if found.path else _folder(parsed).pulled(found)
    if pulled is None:
        print(f"\nIts files are not here. Bring them: crossfold models pull {found.id}")
        return 0
    path = pulled.path
    assert path is not None
    bundle = BundleFiles.read(path)
    problems = list(bundle.problems())
    size_mb = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
    print(f"{'files':<12}{path}: {len(bundle.hashes) + 1}, {size_mb:.1f} MB")
    if problems:
        print("NOT as they were registered: " + ", ".join(problems))
        return 1
    images = bundle.model()["images"]
    print(f"{'channels':<12}{', '.join(images)}")
    given = [f"--image {name}={name}.nii.gz" for name in images]
    chosen = " ".join(given) if len(given) > 1 else f"--image {images[0]}.nii.gz"
    print(f"\nPredict with it:\n    crossfold predict --model {found.id} {chosen}")
    return 0


def _use(parsed: Namespace) -> None:
    from crossfold.registry.registered import Reference

    found = _registry(parsed).mark_current(Reference.parse(parsed.what))
    print(f"{found.id} is the current version of {found.name} in {found.where}")


def _add(parsed: Namespace) -> None:
    from dataclasses import replace

    from crossfold.registry.bundles import BundleFiles
    from crossfold.registry.facts import Facts
    from crossfold.registry.registering import is_verified

    bundle = BundleFiles.read(Path(parsed.what))
    facts = Facts.of(bundle)
    registered = _registry(parsed).register(
        bundle, replace(facts, name=parsed.name) if parsed.name else facts
    )
    print(f"{registered.id} in {registered.where}")
    if not is_verified(bundle, bundle.path.parent / Path(paths.BUNDLE_VERIFIED).name):
        print("Nobody has shown that it gives what the pipeline gave: see docs/bundle.md")


def _pull(parsed: Namespace) -> None:
    from crossfold.registry.azureml import AzureRegistry
    from crossfold.registry.registered import Reference

    if parsed.local:
        raise CrossfoldError("--local: nothing is pulled from a folder", remedy="leave it out")
    registry = AzureRegistry(parsed.profile, parsed.sdk)
    pulled = registry.pull(Reference.parse(parsed.what), _folder(parsed))
    print(f"{pulled.id} in {pulled.where}")
