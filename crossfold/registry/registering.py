"""From a bundle of the pipeline to registered_model.json, and on to a site's own deployment."""

from __future__ import annotations

import json
from pathlib import Path

from crossfold.config.registry import RegistryConfig
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.paper.hook import keep_what_is_printed
from crossfold.registry.azureml import AzureRegistry
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from crossfold.registry.folder import FolderRegistry
from crossfold.registry.registered import Registered
from crossfold.registry.workspace import PROFILE, NoWorkspaceError

Registry = FolderRegistry | AzureRegistry


def open_registry(
    section: RegistryConfig, root: Path = Path(), *, profile: Path = PROFILE, sdk: str = ""
) -> Registry:
    """Return the registry that is meant.

    Parameters
    ----------
    section
        `registry:` of the configuration.
    root
        The checkout.
    profile, sdk
        As for `AzureRegistry`.

    Raises
    ------
    CrossfoldError
        If it is AzureML, and no workspace or plugin is there.
    """
    if section.kind != "folder":
        try:
            return AzureRegistry(profile, sdk)
        except NoWorkspaceError:
            if section.kind == "azureml":
                raise
    return FolderRegistry(section.folder(root), section.path)


def register_model(
    bundle: Path, verified: Path, output: Path, section: RegistryConfig
) -> Registered:
    """Register a bundle that was verified, and write what came of it.

    Parameters
    ----------
    bundle
        Its folder.
    verified
        Its model_verified.json.
    output
        registered_model.json.
    section
        `registry:` of the configuration.

    Raises
    ------
    CrossfoldError
        If the bundle is not whole or another one was verified, or the registry cannot be reached
        or written.
    """
    files = BundleFiles.read(bundle)
    if not is_verified(files, verified):
        raise CrossfoldError(
            f"{verified}: another bundle was verified than the one in {bundle}",
            remedy=f"delete {verified}, so that this one is verified",
        )
    registered = open_registry(section).register(files, Facts.of(files))
    content = registered.to_json() | {
        "id": registered.id,
        "kind": registered.kind,
        "where": registered.where,
    }
    with atomic_path(output) as temporary:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return registered


def is_verified(bundle: BundleFiles, verified: Path) -> bool:
    """Whether model_verified.json is about this bundle."""
    try:
        return bool(json.loads(verified.read_text(encoding="utf-8"))["bundle"] == bundle.digest)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_registered(file: Path, bundle: Path) -> Registered:
    """Read registered_model.json.

    Parameters
    ----------
    file
        What `register_model` wrote.
    bundle
        The folder of the bundle that was registered.

    Raises
    ------
    CrossfoldError
        If the file is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        kept = {key: value for key, value in content.items() if key not in ("format", "id")}
        return Registered(**kept, path=bundle)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CrossfoldError(
            f"{file}: not readable ({error})", remedy="delete it, so that it is written again"
        ) from error


def deploy_model(target: str, file: Path, bundle: Path, output: Path) -> None:
    """Call a function of the site as `function(registered)`, and keep what it prints.

    Parameters
    ----------
    target
        Its import path.
    file, bundle
        As for `read_registered`.
    output
        Text file for what the function prints.

    Raises
    ------
    CrossfoldError
        If it cannot be imported, or ends with an error; the model stays registered.
    """
    registered = read_registered(file, bundle)
    unharmed = f"{registered.id} stays registered"
    keep_what_is_printed("model_deployment", target, (registered,), output, unharmed=unharmed)
