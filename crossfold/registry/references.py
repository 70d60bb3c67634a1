"""Where the files of a model lie that is named by a reference, or by its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from crossfold.config.registry import RegistryConfig
from crossfold.config.shown import merge_files
from crossfold.errors import CrossfoldError
from crossfold.registry.azureml import AzureRegistry
from crossfold.registry.bundles import HASHES
from crossfold.registry.folder import FolderRegistry
from crossfold.registry.registered import Reference, Registered
from crossfold.registry.registering import Registry, open_registry
from crossfold.registry.workspace import PROFILE

CONFIG = "config.yaml"


@dataclass(frozen=True)
class Located:
    """A bundle that was asked for.

    Parameters
    ----------
    path
        Its folder.
    registered
        The version that it is; None where a folder was asked for.
    """

    path: Path
    registered: Registered | None = None


def locate(
    reference: str,
    root: Path = Path(),
    *,
    registry: Path | None = None,
    configfiles: Sequence[Path] = (),
    profile: Path = PROFILE,
) -> Located:
    """Find a bundle; what is only in AzureML is brought to the registry folder.

    Parameters
    ----------
    reference
        A folder, such as results/Prostate/model; or `Prostate:3`, `Prostate:current`, or `Prostate`
        for the current version, or the newest where none is marked.
    root
        The checkout, whose config.yaml says where the registry is.
    registry
        A folder that is looked in instead.
    configfiles
        Files that are laid over its config.yaml.
    profile
        Snakemake profile that names the workspace, in the checkout.

    Raises
    ------
    CrossfoldError
        If there is no such folder, or no such version, or the workspace does not answer.
    """
    folder = root / reference
    if reference in (".", "..") or "/" in reference or os.sep in reference:
        if not (folder / HASHES).is_file():
            raise CrossfoldError(
                f"{folder}: holds no bundle, there is no {HASHES} in it",
                remedy="name the folder of one, such as results/Prostate/model",
            )
        return Located(folder)
    meant: Registry
    if registry is None:
        section = read_section(root, configfiles)
        here = FolderRegistry(section.folder(root), section.path)
        meant = open_registry(section, root, profile=root / profile)
    else:
        meant = here = FolderRegistry(registry)
    try:
        found = meant.find(Reference.parse(reference))
    except CrossfoldError as error:
        if (folder / HASHES).is_file():
            return Located(folder)
        raise _with_folder(error, reference, here) from None
    if isinstance(meant, AzureRegistry):
        found = here.pulled(found) or meant.pull(Reference(found.name, found.version), here)
    assert found.path is not None
    return Located(found.path, found)


def _with_folder(error: CrossfoldError, reference: str, here: FolderRegistry) -> CrossfoldError:
    """Add to an error what the folder has, for a workspace that lacks it or does not answer."""
    try:
        path = here.find(Reference.parse(reference)).path
    except CrossfoldError:
        return error
    remedy = f"or take that of the registry folder: {path}"
    return CrossfoldError(error.message, remedy=f"{error.remedy}; {remedy}".lstrip("; "))


def read_section(root: Path = Path(), configfiles: Sequence[Path] = ()) -> RegistryConfig:
    """Return `registry:` of a checkout's configuration, or the defaults.

    Parameters
    ----------
    root
        The checkout.
    configfiles
        Files that are laid over its config.yaml.

    Raises
    ------
    CrossfoldError
        If a file cannot be read, or the section is wrong.
    """
    files = [file for file in [root / CONFIG] if file.is_file()] + [*configfiles]
    try:
        return RegistryConfig.model_validate(merge_files(files).get("registry") or {})
    except ValidationError as error:
        details = error.errors()[0]
        key = ".".join(map(str, ("registry", *details["loc"])))
        raise CrossfoldError(
            f"{files[-1]}: {key}: {details['msg']}", remedy="see docs/registry.md"
        ) from error
