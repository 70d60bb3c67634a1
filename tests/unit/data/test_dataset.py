from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crossfold.data import dataset as dataset_module
from crossfold.data.dataset import Dataset, read_table, structure_mask, write_table
from crossfold.errors import CrossfoldError
from crossfold.images import read_labels

WriteNifti = Callable[..., Path]


def write_csv(folder: Path, *lines: str) -> Path:
    path = folder / "dataset.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def labelled(tmp_path: Path, write_nifti: WriteNifti) -> Dataset:
    """One subject with a 4-D image, a multi-label map and a binary mask that overlap."""
    write_nifti(tmp_path / "mr.nii.gz", np.arange(16.0).reshape(2, 2, 2, 2))
    labels = np.zeros((2, 2, 2))
    labels[0, 0, 0], labels[0, 0, 1], labels[0, 1, 0] = 1, 2, 4
    write_nifti(tmp_path / "labels.nii.gz", labels)
    mask = np.zeros((2, 2, 2))
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    write_nifti(tmp_path / "mask.nii.gz", mask)
    csv = write_csv(
        tmp_path,
        "subject,channel,filePath,label,volume",
        "P01,T2,mr.nii.gz,,0",
        "P01,ADC,mr.nii.gz,,1",
        "P01,whole,labels.nii.gz,1+2,",
        "P01,lesion,labels.nii.gz,4,",
        "P01,seed,mask.nii.gz,,",
    )
    return Dataset.read(csv)


def test_image_selects_the_volume(labelled: Dataset) -> None:
    adc = labelled.image("P01", "ADC")
    np.testing.assert_array_equal(adc.array.ravel(), np.arange(1.0, 16.0, 2.0))
    assert adc.array.dtype == np.float32


def test_label_map_merges_regions_labels_and_masks(labelled: Dataset) -> None:
    merged = labelled.label_map("P01", ["lesion", "whole", "seed"]).array
    expected = np.zeros((2, 2, 2))
    expected[0, 1, 0], expected[0, 0, 1] = 1, 2
    expected[0, 0, 0] = expected[1, 1, 1] = 3
    np.testing.assert_array_equal(merged, expected)
    assert merged.dtype == np.uint8


def test_later_structure_wins(labelled: Dataset) -> None:
    assert labelled.label_map("P01", ["seed", "whole"]).array[0, 0, 0] == 2
    assert labelled.label_map("P01", ["whole", "seed"]).array[0, 0, 0] == 2


def test_each_file_is_read_once(labelled: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(path: Path) -> object:
        read.append(path.name)
        return read_labels(path)

    monkeypatch.setattr(dataset_module, "read_labels", counting)
    labelled.label_map("P01", ["whole", "lesion", "seed"])
    assert sorted(read) == ["labels.nii.gz", "mask.nii.gz"]


def test_more_than_255_structures_need_uint16(tmp_path: Path, write_nifti: WriteNifti) -> None:
    write_nifti(tmp_path / "labels.nii.gz", np.arange(1, 301).reshape(10, 10, 3))
    rows = [f"P01,s{value},labels.nii.gz,{value}" for value in range(1, 301)]
    dataset = Dataset.read(write_csv(tmp_path, "subject,channel,filePath,label", *rows))
    merged = dataset.label_map("P01", [f"s{value}" for value in range(1, 301)]).array
    assert merged.dtype == np.uint16
    np.testing.assert_array_equal(merged.ravel(), np.arange(1, 301))


def test_files_of_different_shape_are_refused(tmp_path: Path, write_nifti: WriteNifti) -> None:
    write_nifti(tmp_path / "a.nii.gz", np.ones((2, 2, 2)))
    write_nifti(tmp_path / "b.nii.gz", np.ones((2, 2, 1)))
    csv = write_csv(tmp_path, "subject,channel,filePath", "P01,a,a.nii.gz", "P01,b,b.nii.gz")
    with pytest.raises(CrossfoldError, match=r"b\.nii\.gz: shape \(2, 2, 1\)"):
        Dataset.read(csv).label_map("P01", ["a", "b"])


@given(
    labels=arrays(np.int32, (2, 3, 2), elements=st.integers(0, 4)),
    values=st.sets(st.integers(1, 4), min_size=1),
)
def test_structure_mask_is_the_union_of_its_values(labels: np.ndarray, values: set[int]) -> None:
    mask = structure_mask(labels, "+".join(map(str, values)))
    assert mask.tolist() == [[[int(v) in values for v in row] for row in plane] for plane in labels]


def test_subject_without_or_with_two_rows(tmp_path: Path) -> None:
    csv = write_csv(
        tmp_path, "subject,channel,filePath", "P01,ct,a.nii.gz", "P01,ct,b.nii.gz", "P02,mr,c.nii"
    )
    dataset = Dataset.read(csv)
    assert dataset.subjects == ["P01", "P02"]
    with pytest.raises(CrossfoldError, match="`P01` has 2 rows for the channel `ct`"):
        dataset.image("P01", "ct")
    with pytest.raises(CrossfoldError, match="did you mean `ct`"):
        dataset.image("P02", "cta")


def test_metadata_is_kept_where_rows_agree(tmp_path: Path) -> None:
    csv = write_csv(
        tmp_path,
        "subject,channel,filePath,institutionId,seriesID,group",
        "007,ct,a.nii.gz,north,s1,g1",
        "007,lung,b.nii.gz,,s2,g1",
        "P02,ct,c.nii.gz,south,s3,",
    )
    expected = pd.DataFrame(
        {
            "subject": ["007", "P02"],
            "group": ["g1", "P02"],
            "institution": ["north", "south"],
            "series": ["", "s3"],
        }
    )
    pd.testing.assert_frame_equal(Dataset.read(csv).metadata, expected)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["subject,chanel,filePath", "P,ct,a"], "column `chanel` should be called `channel`"),
        (["subject,channel", "P,ct"], "column `filePath` is missing"),
        (["subject;channel;filePath", "P;ct;a"], "separated by commas"),
        (["subject,channel,filePath,institution", "P,ct,a,x"], "be called `institutionId`"),
        (["subject,channel,filePath", "P,ct,a", "P, ,b"], "line 3: channel is ` `"),
        (["subject,channel,filePath,label", "P,ct,a,1.0"], "line 2: label is `1.0`"),
        (["subject,channel,filePath,label", "P,ct,a,0"], "line 2: label is `0`"),
        (["subject,channel,filePath,volume", "P,ct,a,-1"], "line 2: volume is `-1`"),
        ([""], "not readable as CSV"),
    ],
)
def test_malformed_tables_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(CrossfoldError, match=message):
        read_table(write_csv(tmp_path, *lines))


def test_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="no such file"):
        read_table(tmp_path / "dataset.csv")


def test_excels_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "dataset.csv"
    path.write_text("subject,channel,filePath\nP01,ct,a.nii.gz\n", encoding="utf-8-sig")
    assert Dataset.read(path).subjects == ["P01"]


def test_table_is_written_as_it_is_read(tmp_path: Path) -> None:
    csv = write_csv(
        tmp_path,
        "subject,channel,filePath,label,scanner",
        "007,a,x.nii.gz,1+2,NA",
        "008,a,y.nii,3,",
    )
    before = csv.read_text()
    write_table(csv, read_table(csv))
    assert csv.read_text() == before
