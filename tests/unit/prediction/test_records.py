from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crossfold.prediction.records import (
    ABOUT,
    PREDICTED,
    SUMMARY_COLUMNS,
    VOLUMES,
    is_of_another_image,
    is_whole,
    seal,
    write_tables,
)

ASKED = {"folds": [0, 1], "images": {"ct": "digest"}}
SOURCES = {"ct": "/images/a.nii.gz"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "NA"
    folder.mkdir()
    (folder / "segmentation.nii.gz").write_bytes(b"voxels")
    row = {"subject": "NA", "structure": "NA", "volume_ml": 1.5, "mean_uncertainty": None}
    pd.DataFrame([row]).to_csv(folder / VOLUMES, index=False)
    seal(folder, ASKED | {"sources": SOURCES})
    return folder


def test_a_subject_is_whole_with_all_its_bytes(folder: Path) -> None:
    assert is_whole(folder, ASKED)
    assert not is_whole(folder, ASKED | {"folds": [0]})
    (folder / "segmentation.nii.gz").write_bytes(b"voxel")
    assert not is_whole(folder, ASKED)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": null}', "3"])
def test_a_damaged_record_is_that_of_nothing(folder: Path, text: str) -> None:
    (folder / ABOUT).write_text(text)
    assert not is_whole(folder, ASKED)
    assert not is_of_another_image(folder, ASKED["images"], SOURCES) or text == '{"files": null}'


def test_another_image_is_one_from_elsewhere_with_other_bytes(folder: Path) -> None:
    moved, edited = {"ct": "/elsewhere/a.nii.gz"}, {"ct": "another"}
    assert not is_of_another_image(folder, {"ct": "digest"}, moved)
    assert not is_of_another_image(folder, edited, SOURCES)
    assert is_of_another_image(folder, edited, moved)


def test_a_subject_and_a_structure_may_be_called_na(folder: Path) -> None:
    summary = pd.DataFrame([("NA", PREDICTED, 1.0, "", "")], columns=SUMMARY_COLUMNS)
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / ABOUT).touch()
    (folder.parent / "other" / VOLUMES).touch()
    write_tables(summary, folder.parent)
    assert (folder.parent / VOLUMES).read_text().splitlines()[1:] == ["NA,NA,1.5,"]
