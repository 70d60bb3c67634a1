"""Tasks of the Medical Segmentation Decathlon (Antonelli et al. 2022, Nature Communications)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from crossfold.config.datasets import DecathlonDataset
from crossfold.data.dataset import Row
from crossfold.data.importers.description import (
    case_name,
    check_distinct,
    is_apple_double,
    read_description,
)
from crossfold.errors import CrossfoldError


def read_decathlon(source: Path, _config: DecathlonDataset) -> pd.DataFrame:
    """Rows of the cases in `training`; images without contours (`test`) are left out.

    An image of several modalities is one 4-D file, and gives one row per volume.

    Raises
    ------
    CrossfoldError
        If dataset.json is missing or not a Decathlon description.
    """
    description = read_description(
        source, needs=("modality", "labels", "training"), other="nnunet", mark="channel_names"
    )
    modalities = {int(index): name for index, name in description["modality"].items()}
    structures = _structures(source, description["labels"])
    check_distinct(source, [*modalities.values(), *structures])
    rows: list[Row] = []
    for case in description["training"]:
        image, label = _files(source, case)
        if is_apple_double(image):
            continue
        subject = case_name(image)
        for index, channel in sorted(modalities.items()):
            volume = str(index) if len(modalities) > 1 else ""
            rows.append(
                {"subject": subject, "channel": channel, "filePath": image, "volume": volume}
            )
        for structure, value in structures.items():
            rows.append(
                {"subject": subject, "channel": structure, "filePath": label, "label": value}
            )
    return pd.DataFrame(rows).fillna("")


def _structures(source: Path, labels: dict[str, str]) -> dict[str, str]:
    """Value of each structure; the Decathlon maps values to names."""
    if not all(value.isdigit() for value in labels):
        raise CrossfoldError(
            f"{source / 'dataset.json'}: the labels {labels} are not value: name",
            remedy="set `source: nnunet` for a dataset of nnU-Net",
        )
    return {name: value for value, name in labels.items() if int(value) != 0}


def _files(source: Path, case: dict[str, str]) -> tuple[str, str]:
    """Image and label file of a case, relative to the source (`./imagesTr/…` in dataset.json)."""
    try:
        return str(PurePosixPath(case["image"])), str(PurePosixPath(case["label"]))
    except (TypeError, KeyError) as error:
        raise CrossfoldError(
            f"{source / 'dataset.json'}: the training case {case!r} has no image or no label",
            remedy="write each case as {image: ./imagesTr/…, label: ./labelsTr/…}",
        ) from error
