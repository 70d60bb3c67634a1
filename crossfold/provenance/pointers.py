"""What git has in place of images that DVC keeps: pointers, at any revision of a repository."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path, PurePosixPath

import yaml

from crossfold.config.base import nearest
from crossfold.config.datasets import DvcDataset, check_variables
from crossfold.errors import CrossfoldError

IMAGES = "images"


def tracked_digest(name: str, config: DvcDataset) -> str:
    """Return what DVC calls the images of a dataset at its revision.

    It is read from the pointer in git, so that a mistake shows before any image is touched.

    Parameters
    ----------
    name
        Name of the dataset, for messages.
    config
        Its section of config.yaml.

    Returns
    -------
    str
        `<md5>.dir`; empty for a repository that is not a folder of this machine.

    Raises
    ------
    CrossfoldError
        If the folder is no git repository, the revision is unknown or it tracks no such images.
    """
    address = address_of(name, config)
    repository = Path(address or ".")
    if not repository.is_dir():
        return ""
    if _git(repository, "rev-parse", "--git-dir") is None:
        raise CrossfoldError(
            f"{where(name, 'url')}: {repository.resolve()} is no git repository",
            remedy="name a repository that tracks the dataset, or run inside a clone of it",
        )
    revision = config.rev or "HEAD"
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit is None:
        tags = (_git(repository, "tag") or "").split()
        raise unknown_revision(name, config, nearest(revision, tags) if tags else "")
    images = PurePosixPath(config.path, IMAGES)
    for tracked in (images, *images.parents):
        pointer = _git(repository, "show", f"{commit}:{tracked}.dvc")
        if pointer is not None:
            return str(yaml.safe_load(pointer)["outs"][0]["md5"])
    raise untracked(name, config)


def where(name: str, key: str = "") -> str:
    """Return where in config.yaml a dataset is described: its section, or the model's `dataset`."""
    known, _, revision = name.partition("@")
    if revision:
        return f"config.yaml: dataset: {{name: {known}, rev: {revision}}}"
    return f"config.yaml: datasets.{name}{key and f'.{key}'}"


def unknown_revision(name: str, config: DvcDataset, meant: str = "") -> CrossfoldError:
    """Return the error of a revision that its repository does not have."""
    repository = without_password(config.url) if config.url else "this repository"
    return CrossfoldError(
        f"{where(name, 'rev')}: `{config.rev}` is no branch, tag or commit of {repository}",
        remedy=", or ".join(filter(None, (meant, "fetch it with `git fetch --tags`"))),
    )


def untracked(name: str, config: DvcDataset) -> CrossfoldError:
    """Return the error of a revision that has no such images under DVC."""
    revision = config.rev or "its last commit"
    remedy = "name the folder of a dataset.csv whose images are under DVC"
    if config.url is None:
        own = PurePosixPath(config.path).name
        remedy = f"run `make track DATASET={own}`, and name the commit or tag it"
    return CrossfoldError(
        f"{where(name, 'path')}: DVC tracks no {config.path}/{IMAGES} at {revision}",
        remedy=remedy,
    )


def address_of(name: str, config: DvcDataset) -> str:
    """Return the repository's address with variables expanded; empty for this repository."""
    if config.url is None:
        return ""
    check_variables(config.url, f"datasets.{name}.url")
    return os.path.expanduser(os.path.expandvars(config.url))  # noqa: PTH111 - may be no path


def without_password(text: str) -> str:
    """Take user and password out of addresses.

    Examples
    --------
    >>> without_password("cannot read https://me:token@example.org/data.git")
    'cannot read https://example.org/data.git'
    """
    return re.sub(r"(?<=//)[^/@\s]+@", "", text)


def _git(repository: Path, *arguments: str) -> str | None:
    """Return what git says, or None where it finds nothing."""
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(repository), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
