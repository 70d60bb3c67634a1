"""Datasets that a git repository tracks with DVC, at any of its revisions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from crossfold.config.datasets import DvcDataset
from crossfold.data.dataset import read_table
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, atomic_path
from crossfold.provenance.pointers import (
    IMAGES,
    address_of,
    tracked_digest,
    unknown_revision,
    untracked,
    where,
    without_password,
)

TABLE = "dataset.csv"


def import_from_dvc(name: str, config: DvcDataset, folder: Path) -> pd.DataFrame:
    """Copy a dataset as a revision has it, from DVC's cache or the repository's remote storage.

    Parameters
    ----------
    name
        Name of the dataset, for messages.
    config
        Its section of config.yaml.
    folder
        Target; `folder/images` and `folder/dataset.csv` each appear whole or not at all.

    Returns
    -------
    pandas.DataFrame
        The rows of dataset.csv, filePath relative to `folder`.

    Raises
    ------
    CrossfoldError
        If the repository or the revision is not there, tracks no such dataset, or its images are
        neither in the cache nor in remote storage.
    """
    tracked_digest(name, config)
    with _readable_errors(name, config), _open(name, config) as revision:
        images = f"{config.path}/{IMAGES}"
        if not revision.isdir(images) or not revision.info(images).get("dvc_info", {}).get("isdvc"):
            raise untracked(name, config)
        table = revision.read_bytes(f"{config.path}/{TABLE}")
        with atomic_directory(folder / IMAGES) as temporary:
            temporary.rmdir()  # DVC makes it, or would put a folder `images` into it
            revision.get(images, os.fspath(temporary), recursive=True)
    with atomic_path(folder / TABLE) as temporary:
        temporary.write_bytes(table)
    return read_table(folder / TABLE)


@contextmanager
def _open(name: str, config: DvcDataset) -> Iterator[Any]:
    """Open a revision as a file system."""
    from dvc.api import DVCFileSystem  # takes a third of a second
    from dvc.repo import Repo

    address, settings = address_of(name, config), None
    if not address:
        # Remote storage is where it is today, not where it was when the revision was made.
        with Repo() as here:
            settings = {key: here.config[key] for key in ("core", "cache", "remote")}
    is_here = Path(address or ".").is_dir()
    revision = config.rev or ("HEAD" if is_here else None)
    files = DVCFileSystem(url=address or None, rev=revision, config=settings)
    try:
        yield files
    finally:
        files.repo.close()


@contextmanager
def _readable_errors(name: str, config: DvcDataset) -> Iterator[None]:
    """Say what to change, where DVC says what it could not do."""
    from dvc.exceptions import DvcException
    from dvc.scm import CloneError, RevError
    from dvc_data.index import DataIndexDirError

    try:
        yield
    except CloneError as error:
        reason = without_password(str(error.__cause__ or error))
        raise CrossfoldError(
            f"{where(name, 'url')}: cannot clone {without_password(config.url or '')} ({reason})",
            remedy="check the address, the network and your access with `git ls-remote`",
        ) from error
    except RevError as error:
        raise unknown_revision(name, config) from error
    except (FileNotFoundError, DataIndexDirError) as error:
        raise CrossfoldError(
            f"{where(name)}: files of {config.path} at {config.rev or 'its last commit'} are "
            f"neither in DVC's cache nor in remote storage ({error})",
            remedy="ask whoever tracked them to run `dvc push --all-commits` there",
        ) from error
    except DvcException as error:
        raise CrossfoldError(
            f"{where(name)}: {without_password(str(error))}",
            remedy="check the repository with `dvc status` and `dvc remote list` there",
        ) from error
