"""Bring a dataset into Crossfold's form: a folder of images and a dataset.csv."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from crossfold.config.datasets import (
    DatasetConfig,
    DicomDataset,
    DvcDataset,
    PhantomDataset,
    expand_path,
)
from crossfold.data.dataset import write_table
from crossfold.data.importers.decathlon import read_decathlon
from crossfold.data.importers.dvc import import_from_dvc
from crossfold.data.importers.folder import read_folder
from crossfold.data.importers.innereye import read_innereye
from crossfold.data.importers.nnunet import read_nnunet
from crossfold.data.phantom import make_phantom
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory

__all__ = ["import_dataset"]

# Each takes the folder of the source and the dataset's section of config.yaml, and returns the
# rows of dataset.csv with filePath relative to that folder.
_READERS: dict[str, Callable[[Path, Any], pd.DataFrame]] = {
    "decathlon": read_decathlon,
    "nnunet": read_nnunet,
    "innereye": read_innereye,
    "folder": read_folder,
}

logger = logging.getLogger(__name__)


def import_dataset(name: str, config: DatasetConfig, folder: Path) -> pd.DataFrame:
    """Bring the images of a dataset under `folder/images` and describe them in dataset.csv.

    A file that the source names but does not hold keeps its row, so that the validation can
    report it with everything else that is wrong.

    Parameters
    ----------
    name
        Name of the dataset in config.yaml, for messages.
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
        If the source is missing, is not of the stated format, or has no subject.
    """
    if isinstance(config, DvcDataset):
        return import_from_dvc(name, config, folder)
    if isinstance(config, DicomDataset):
        from crossfold.data.dicom import import_dicom

        return import_dicom(name, config, _source_folder(name, config.path), folder)
    if isinstance(config, PhantomDataset):
        with atomic_directory(folder / "images") as images:
            table = make_phantom(images, subjects=config.subjects, seed=config.seed)
        # The rows name the folder that the phantom was drawn into, which was a temporary one.
        table["filePath"] = "images/" + table["filePath"].str.partition("/")[2]
    else:
        source = _source_folder(name, config.path)
        try:
            table = _READERS[config.source](source, config)
        except CrossfoldError as error:
            where = f"config.yaml: datasets.{name}"
            raise CrossfoldError(f"{where}: {error.message}", remedy=error.remedy) from error
        if table.empty:
            raise CrossfoldError(
                f"config.yaml: datasets.{name}: no subject with contours in {source}",
                remedy=f"check `source: {config.source}` and `path` against the files there",
            )
        with atomic_directory(folder / "images") as images:
            _collect(name, source, images, files=table["filePath"].unique(), link=config.link)
        table["filePath"] = "images/" + table["filePath"]
    write_table(folder / "dataset.csv", table)
    return table


def _source_folder(name: str, text: str) -> Path:
    source = expand_path(text, name)
    if not source.is_dir():
        raise CrossfoldError(
            f"config.yaml: datasets.{name}.path is `{text}`, but there is no folder {source}",
            remedy="correct the path, or mount or download the data",
        )
    return source


def _collect(name: str, source: Path, images: Path, *, files: Iterable[str], link: bool) -> None:
    """Copy or link the files, keeping their paths relative to the source."""
    missing = []
    for relative in tqdm(files, desc=f"import {name}", unit="file"):
        origin, target = source / relative, images / relative
        if not origin.is_file():
            missing.append(relative)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            target.symlink_to(origin.absolute())
        else:
            shutil.copyfile(origin, target)
    if missing:
        logger.warning("dataset %s: not in %s: %s", name, source, ", ".join(missing))
