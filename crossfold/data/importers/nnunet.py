"""Raw datasets of nnU-Net version 2 (Isensee et al. 2021, Nature Methods)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from crossfold.config.datasets import NnunetDataset
from crossfold.data.dataset import Row
from crossfold.data.importers.description import (
    check_distinct,
    is_apple_double,
    read_description,
)
from crossfold.errors import CrossfoldError

_CHANNEL_SUFFIX_LENGTH = len("_0000")


def read_nnunet(source: Path, _config: NnunetDataset) -> pd.DataFrame:
    """Rows of the cases in imagesTr and labelsTr.

    A region, which nnU-Net declares as a list of labels, is written `1+2`. A case's file that
    is not there keeps its row.

    Raises
    ------
    CrossfoldError
        If dataset.json is missing, not nnU-Net's, or its images are not NIfTI.
    """
    description = read_description(
        source, needs=("channel_names", "labels", "file_ending"), other="decathlon", mark="modality"
    )
    ending = description["file_ending"]
    if ending not in (".nii.gz", ".nii"):
        raise CrossfoldError(
            f"{source / 'dataset.json'}: file_ending is `{ending}`",
            remedy="convert the images to NIfTI and set file_ending to .nii.gz",
        )
    channels = {int(index): name for index, name in description["channel_names"].items()}
    structures = {
        name: _label_text(source, label)
        for name, label in description["labels"].items()
        if label != 0
    }
    check_distinct(source, [*channels.values(), *structures])
    rows: list[Row] = []
    for subject in _cases(source, ending):
        for index, channel in sorted(channels.items()):
            file = f"imagesTr/{subject}_{index:04d}{ending}"
            rows.append({"subject": subject, "channel": channel, "filePath": file})
        file = f"labelsTr/{subject}{ending}"
        for structure, label in structures.items():
            rows.append(
                {"subject": subject, "channel": structure, "filePath": file, "label": label}
            )
    return pd.DataFrame(rows).fillna("")


def _label_text(source: Path, label: int | list[int]) -> str:
    values = label if isinstance(label, list) else [label]
    if not all(isinstance(value, int) for value in values):
        raise CrossfoldError(
            f"{source / 'dataset.json'}: the label {label!r} is not an integer or a list of them",
            remedy="write the labels as name: value",
        )
    return "+".join(str(value) for value in values)


def _cases(source: Path, ending: str) -> list[str]:
    """Cases with an image or a label map."""
    labels = [path.name.removesuffix(ending) for path in source.glob(f"labelsTr/*{ending}")]
    images = [
        path.name.removesuffix(ending)[:-_CHANNEL_SUFFIX_LENGTH]
        for path in source.glob(f"imagesTr/*_[0-9][0-9][0-9][0-9]{ending}")
    ]
    return sorted(case for case in {*labels, *images} if not is_apple_double(case))
