"""Datasets of InnerEye-DeepLearning: dataset.csv and one binary mask per structure."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from crossfold.config.datasets import InnereyeDataset
from crossfold.data.dataset import read_table
from crossfold.errors import CrossfoldError


def read_innereye(source: Path, _config: InnereyeDataset) -> pd.DataFrame:
    """Rows of the source's dataset.csv, with all its columns.

    Raises
    ------
    CrossfoldError
        If dataset.csv is missing or malformed, or names files that are not NIfTI or lie outside
        the folder.
    """
    path = source / "dataset.csv"
    table = read_table(path)
    table["filePath"] = [str(PurePosixPath(file)) for file in table["filePath"]]
    foreign = [file for file in table["filePath"] if not file.endswith((".nii", ".nii.gz"))]
    if foreign:
        raise CrossfoldError(
            f"{path}: not NIfTI: {', '.join(foreign[:3])}",
            remedy="convert numpy and HDF5 files to .nii.gz, with the spacing in the affine",
        )
    outside = [
        file
        for file in table["filePath"]
        if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts
    ]
    if outside:
        raise CrossfoldError(
            f"{path}: outside the dataset's folder: {', '.join(outside[:3])}",
            remedy="write filePath relative to the folder of dataset.csv",
        )
    return table
