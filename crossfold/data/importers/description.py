"""What Decathlon and nnU-Net share: dataset.json, and rows named after a case."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError

Description = dict[str, Any]


def read_description(source: Path, *, needs: Iterable[str], other: str, mark: str) -> Description:
    """Read dataset.json.

    Parameters
    ----------
    source
        Folder of the dataset.
    needs
        Keys that the format requires.
    other
        `source` in config.yaml that is right when the key `mark` is there instead.
    mark
        Key that gives the other format away.

    Raises
    ------
    CrossfoldError
        If the file or a key is missing, or the file is not JSON.
    """
    path = source / "dataset.json"
    if not path.is_file():
        raise CrossfoldError(
            f"{path}: no such file",
            remedy="let `path` point to the folder that holds dataset.json, imagesTr and labelsTr",
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CrossfoldError(f"{path}: not readable as JSON ({error})") from error
    missing = [key for key in needs if key not in description]
    if missing:
        remedy = f"set `source: {other}`" if mark in description else "complete dataset.json"
        raise CrossfoldError(f"{path}: the key {', '.join(missing)} is missing", remedy=remedy)
    return description


def case_name(path: str) -> str:
    """Name of a case: the file name without `.nii` or `.nii.gz`."""
    return Path(path).name.removesuffix(".gz").removesuffix(".nii")


def is_apple_double(path: str) -> bool:
    """Whether macOS made this file (`._name`) to hold attributes of another."""
    return Path(path).name.startswith("._")


def check_distinct(source: Path, channels: list[str]) -> None:
    """Refuse a dataset in which two channels, or a channel and a structure, share a name."""
    repeated = sorted({name for name in channels if channels.count(name) > 1})
    if repeated:
        raise CrossfoldError(
            f"{source / 'dataset.json'}: more than one channel or label is called "
            f"{', '.join(repeated)}",
            remedy="give each its own name in dataset.json",
        )
