"""Let Snakemake see edits that it would miss: inside directories, and of raw data."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from crossfold import paths
from crossfold.config.datasets import DatasetConfig, DvcDataset, PhantomDataset, expand_path
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.workflow.records import TIMESTAMP, has_timestamp, raise_timestamp

EDITED_BY_HAND = (paths.DATASET_IMAGES, paths.FOLD_SEGMENTATIONS, paths.ENSEMBLE_SEGMENTATIONS)
"""Directories in which a person may correct, add or remove a file."""


def notice_edits(root: Path = Path()) -> None:
    """Raise the timestamp of directories to that of the newest file or folder in them.

    Snakemake goes by the file `.snakemake_timestamp` of a directory alone, and would not see that
    a contour in it was corrected.
    """
    for pattern in EDITED_BY_HAND:
        for directory in root.glob(re.sub(r"{\w+}", "*", pattern)):
            if has_timestamp(directory):
                raise_timestamp(directory, _newest(directory))


def _newest(directory: Path) -> float:
    """Return when anything in a directory was modified, added or removed last."""
    newest = directory.stat().st_mtime
    for folder, _, files in os.walk(directory):
        for name in (".", *files):
            if name != TIMESTAMP:
                try:
                    newest = max(newest, os.stat(f"{folder}/{name}").st_mtime)  # noqa: PTH116
                except FileNotFoundError:
                    continue  # A link to nothing: the checks of the dataset tell.
    return newest


def source_digest(name: str, config: DatasetConfig, root: Path = Path()) -> str:
    """Return what identifies the raw files of a dataset, so that it is imported again for others.

    Parameters
    ----------
    name
        Name of the dataset.
    config
        Its section of config.yaml.
    root
        The checkout.

    Returns
    -------
    str
        Digest of the folder of the source; where that is not on this machine, the one with which
        the dataset was imported; empty if that is unknown, or nothing is read.

    Raises
    ------
    CrossfoldError
        If a revision is named that its repository does not have, and it was not imported yet.
    """
    if isinstance(config, PhantomDataset):
        return ""
    imported = root / paths.DATASET_SOURCE.format(dataset=name)
    try:
        digest = _digest(name, config, root)
    except CrossfoldError:
        if not imported.exists():
            raise
        digest = ""
    if not digest and imported.exists():
        return str(json.loads(imported.read_text(encoding="utf-8"))["digest"])
    return digest


def write_source(path: Path, digest: str) -> None:
    """Keep the digest of the raw files that a dataset was imported from, beside it."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"digest": digest}, indent=1) + "\n", encoding="utf-8")


def _digest(name: str, config: DatasetConfig, root: Path) -> str:
    # Both take time to import.
    if isinstance(config, DvcDataset):
        from crossfold.provenance.pointers import tracked_digest

        return tracked_digest(name, config)
    assert not isinstance(config, PhantomDataset)
    try:
        source = expand_path(config.path, name)
    except CrossfoldError:
        return ""
    if not source.is_dir():
        return ""
    from crossfold.provenance.digests import Digests

    with Digests(root) as digests:
        return digests.of(source.absolute())
