from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.config.datasets import (
    DecathlonDataset,
    FolderDataset,
    InnereyeDataset,
    NnunetDataset,
    PhantomDataset,
)
from crossfold.data import importers
from crossfold.data.dataset import Dataset
from crossfold.data.importers import import_dataset
from crossfold.data.importers.folder import subject_regex
from crossfold.errors import CrossfoldError

WriteNifti = Callable[..., Path]

DECATHLON = {
    "modality": {"0": "T2", "1": "ADC"},
    "labels": {"0": "background", "1": "peripheral_zone", "2": "central_gland"},
    "training": [
        {"image": "./imagesTr/p_00.nii.gz", "label": "./labelsTr/p_00.nii.gz"},
        {"image": "./imagesTr/p_01.nii.gz", "label": "./labelsTr/p_01.nii.gz"},
        {"image": "./imagesTr/._p_01.nii.gz", "label": "./labelsTr/._p_01.nii.gz"},
    ],
    "test": ["./imagesTs/p_02.nii.gz"],
}
NNUNET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "kidney": [1, 2], "tumour": 2, "ignore": 3},
    "file_ending": ".nii.gz",
}


def describe(folder: Path, description: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(description))


def cells(table: pd.DataFrame, *columns: str) -> list[tuple[str, ...]]:
    return list(table[list(columns)].itertuples(index=False, name=None))


@pytest.fixture
def decathlon(tmp_path: Path, write_nifti: WriteNifti) -> Path:
    source = tmp_path / "source"
    describe(source, DECATHLON)
    volume = np.arange(54.0).reshape(3, 3, 3, 2)
    for case in ("p_00", "p_01"):
        write_nifti(source / f"imagesTr/{case}.nii.gz", volume)
        write_nifti(source / f"labelsTr/{case}.nii.gz", volume[..., 0] % 3)
        (source / f"imagesTr/._{case}.nii.gz").write_bytes(b"Mac OS X")
    write_nifti(source / "imagesTs/p_02.nii.gz", volume)
    return source


def test_decathlon(tmp_path: Path, decathlon: Path) -> None:
    config = DecathlonDataset(source="decathlon", path=str(decathlon))
    table = import_dataset("mr", config, tmp_path / "mr")
    assert cells(table[table["subject"] == "p_00"], "channel", "filePath", "label", "volume") == [
        ("T2", "images/imagesTr/p_00.nii.gz", "", "0"),
        ("ADC", "images/imagesTr/p_00.nii.gz", "", "1"),
        ("peripheral_zone", "images/labelsTr/p_00.nii.gz", "1", ""),
        ("central_gland", "images/labelsTr/p_00.nii.gz", "2", ""),
    ]
    dataset = Dataset.read(tmp_path / "mr" / "dataset.csv")
    assert dataset.subjects == ["p_00", "p_01"]
    assert dataset.image("p_01", "ADC").array[0, 0, 1] == 3
    files = [file.name for file in (tmp_path / "mr").rglob("*.nii.gz")]
    assert sorted(files) == ["p_00.nii.gz", "p_00.nii.gz", "p_01.nii.gz", "p_01.nii.gz"]


def test_one_modality_has_no_volume(tmp_path: Path, decathlon: Path) -> None:
    describe(decathlon, DECATHLON | {"modality": {"0": "T2"}})
    config = DecathlonDataset(source="decathlon", path=str(decathlon))
    import_dataset("mr", config, tmp_path / "mr")
    header = (tmp_path / "mr" / "dataset.csv").read_text().splitlines()[0]
    assert header == "subject,channel,filePath,label"


def test_missing_file_keeps_its_row(
    tmp_path: Path, decathlon: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (decathlon / "labelsTr/p_01.nii.gz").unlink()
    config = DecathlonDataset(source="decathlon", path=str(decathlon))
    table = import_dataset("mr", config, tmp_path / "mr")
    assert "images/labelsTr/p_01.nii.gz" in set(table["filePath"])
    assert "labelsTr/p_01.nii.gz" in caplog.text


def test_link_makes_links(tmp_path: Path, decathlon: Path) -> None:
    config = DecathlonDataset(source="decathlon", path=str(decathlon), link=True)
    import_dataset("mr", config, tmp_path / "mr")
    target = tmp_path / "mr/images/imagesTr/p_00.nii.gz"
    assert target.is_symlink()
    assert target.resolve() == decathlon / "imagesTr/p_00.nii.gz"


def test_importing_again_leaves_nothing_of_the_first_time(tmp_path: Path, decathlon: Path) -> None:
    config = DecathlonDataset(source="decathlon", path=str(decathlon))
    import_dataset("mr", config, tmp_path / "mr")
    describe(decathlon, DECATHLON | {"training": DECATHLON["training"][:1]})
    import_dataset("mr", config, tmp_path / "mr")
    assert len(list((tmp_path / "mr").rglob("*.nii.gz"))) == 2


def test_failed_copy_leaves_the_first_import_whole(
    tmp_path: Path, decathlon: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DecathlonDataset(source="decathlon", path=str(decathlon))
    import_dataset("mr", config, tmp_path / "mr")
    before = sorted((tmp_path / "mr").rglob("*"))

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(importers.shutil, "copyfile", disk_full)
    with pytest.raises(OSError, match="No space left"):
        import_dataset("mr", config, tmp_path / "mr")
    assert sorted((tmp_path / "mr").rglob("*")) == before


@pytest.fixture
def nnunet(tmp_path: Path, write_nifti: WriteNifti) -> Path:
    source = tmp_path / "Dataset001_Kidney"
    describe(source, NNUNET)
    labels = np.arange(27.0).reshape(3, 3, 3) % 4
    for case in ("k_1", "k_2"):
        write_nifti(source / f"imagesTr/{case}_0000.nii.gz", labels * 100)
        write_nifti(source / f"labelsTr/{case}.nii.gz", labels)
        (source / f"labelsTr/._{case}.nii.gz").write_bytes(b"Mac OS X")
    return source


def test_nnunet_regions_become_unions(tmp_path: Path, nnunet: Path) -> None:
    config = NnunetDataset(source="nnunet", path=str(nnunet))
    table = import_dataset("kidney", config, tmp_path / "kidney")
    assert cells(table[table["subject"] == "k_1"], "channel", "filePath", "label") == [
        ("CT", "images/imagesTr/k_1_0000.nii.gz", ""),
        ("kidney", "images/labelsTr/k_1.nii.gz", "1+2"),
        ("tumour", "images/labelsTr/k_1.nii.gz", "2"),
        ("ignore", "images/labelsTr/k_1.nii.gz", "3"),
    ]
    dataset = Dataset.read(tmp_path / "kidney" / "dataset.csv")
    merged = dataset.label_map("k_2", ["kidney", "tumour"]).array
    assert merged.ravel()[:5].tolist() == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("lost", ["labelsTr/k_2.nii.gz", "imagesTr/k_2_0000.nii.gz"])
def test_nnunet_case_with_one_file_keeps_all_rows(tmp_path: Path, nnunet: Path, lost: str) -> None:
    (nnunet / lost).unlink()
    config = NnunetDataset(source="nnunet", path=str(nnunet))
    table = import_dataset("kidney", config, tmp_path / "kidney")
    assert (table["subject"] == "k_2").sum() == 4
    assert f"images/{lost}" in set(table["filePath"])


@pytest.mark.parametrize(
    ("config", "description", "message"),
    [
        (DecathlonDataset, None, "no such file"),
        (NnunetDataset, None, "no such file"),
        (DecathlonDataset, NNUNET, "source: nnunet"),
        (NnunetDataset, DECATHLON, "source: decathlon"),
        (DecathlonDataset, DECATHLON | {"training": []}, "no subject with contours"),
        (DecathlonDataset, DECATHLON | {"training": ["a.nii.gz"]}, "no image or no label"),
        (DecathlonDataset, DECATHLON | {"labels": {"background": 0}}, "source: nnunet"),
        (DecathlonDataset, DECATHLON | {"modality": {"0": "T2", "1": "T2"}}, "called T2"),
        (NnunetDataset, NNUNET, "no subject with contours"),
        (NnunetDataset, NNUNET | {"file_ending": ".png"}, "file_ending is `.png`"),
        (NnunetDataset, NNUNET | {"labels": {"0": "background"}}, "'background' is not an"),
        (NnunetDataset, NNUNET | {"labels": {"CT": 1}}, "called CT"),
    ],
)
def test_wrong_descriptions(
    tmp_path: Path, config: type, description: dict[str, Any] | None, message: str
) -> None:
    (tmp_path / "source").mkdir()
    if description:
        describe(tmp_path / "source", description)
    name = "decathlon" if config is DecathlonDataset else "nnunet"
    with pytest.raises(CrossfoldError, match=message):
        import_dataset("d", config(source=name, path=str(tmp_path / "source")), tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_description_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{")
    config = NnunetDataset(source="nnunet", path=str(tmp_path))
    with pytest.raises(CrossfoldError, match="not readable as JSON"):
        import_dataset("d", config, tmp_path / "d")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    config = DecathlonDataset(source="decathlon", path=str(tmp_path / "gone"))
    with pytest.raises(CrossfoldError, match=r"datasets\.mr\.path is .*gone"):
        import_dataset("mr", config, tmp_path / "mr")


def innereye(folder: Path, *lines: str) -> InnereyeDataset:
    folder.mkdir(exist_ok=True)
    (folder / "dataset.csv").write_text("\n".join(lines) + "\n")
    return InnereyeDataset(source="innereye", path=str(folder))


def test_innereye(tmp_path: Path, write_nifti: WriteNifti) -> None:
    config = innereye(
        tmp_path / "source",
        "subject,channel,filePath,institutionId,seriesID,scanner",
        "1,ct,1/ct.nii.gz,north,s1,A",
        "1,bladder,./1/bladder.nii.gz,north,s1,A",
    )
    write_nifti(tmp_path / "source/1/ct.nii.gz", np.arange(8.0).reshape(2, 2, 2))
    write_nifti(tmp_path / "source/1/bladder.nii.gz", np.eye(2)[None].repeat(2, axis=0))
    import_dataset("ct", config, tmp_path / "ct")
    assert (tmp_path / "ct/dataset.csv").read_text().splitlines() == [
        "subject,channel,filePath,institutionId,seriesId,scanner",
        "1,ct,images/1/ct.nii.gz,north,s1,A",
        "1,bladder,images/1/bladder.nii.gz,north,s1,A",
    ]
    dataset = Dataset.read(tmp_path / "ct/dataset.csv")
    assert dataset.label_map("1", ["bladder"]).array.sum() == 4


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("1.h5|volume|0", "not NIfTI"),
        ("../1.nii.gz", "outside the dataset's folder"),
        ("/data/1.nii.gz", "outside the dataset's folder"),
    ],
)
def test_innereye_files_that_cannot_be_imported(tmp_path: Path, file: str, message: str) -> None:
    config = innereye(tmp_path, "subject,channel,filePath", f"1,ct,{file}")
    with pytest.raises(CrossfoldError, match=message):
        import_dataset("ct", config, tmp_path / "ct")


def test_innereye_without_rows(tmp_path: Path) -> None:
    config = innereye(tmp_path, "subject,channel,filePath")
    with pytest.raises(CrossfoldError, match="no subject with contours"):
        import_dataset("ct", config, tmp_path / "ct")


@pytest.fixture
def plain(tmp_path: Path, write_nifti: WriteNifti) -> Path:
    source = tmp_path / "source"
    for subject in ("P_1", "P_2"):
        write_nifti(source / f"images/{subject}_ct.nii.gz", np.arange(8.0).reshape(2, 2, 2))
        write_nifti(source / f"masks/{subject}/lung_v2.nii.gz", np.ones((2, 2, 2)))
        write_nifti(source / f"maps/{subject}.nii.gz", np.full((2, 2, 2), 5))
    (source / "patients.csv").write_text("subject,institutionId\nP_1,north\nP_9,south\n")
    return source


def test_folder(tmp_path: Path, plain: Path) -> None:
    config = FolderDataset(
        source="folder",
        path=str(plain),
        images={"ct": "images/{subject}_ct.nii.gz"},
        structures={"lung": "masks/{subject}/lung_*.nii.gz"},
        labels={"pattern": "**/maps/{subject}.nii.gz", "values": {"heart": 5}},
        metadata="patients.csv",
    )
    table = import_dataset("ct", config, tmp_path / "ct")
    assert cells(table, "subject", "channel", "filePath", "label", "institutionId")[:4] == [
        ("P_1", "ct", "images/images/P_1_ct.nii.gz", "", "north"),
        ("P_1", "lung", "images/masks/P_1/lung_v2.nii.gz", "", "north"),
        ("P_1", "heart", "images/maps/P_1.nii.gz", "5", "north"),
        ("P_2", "ct", "images/images/P_2_ct.nii.gz", "", ""),
    ]
    assert Dataset.read(tmp_path / "ct/dataset.csv").label_map("P_2", ["heart"]).array.all()


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ("patient,institutionId\nP_1,north\n", "column subject is missing"),
        ("subject,institutionId\nP_1,north\nP_1,south\n", "cannot be merged"),
        ("subject,label\nP_1,3\n", "the column label is set by the patterns"),
        (None, "No such file"),
    ],
)
def test_folder_with_wrong_metadata(
    tmp_path: Path, plain: Path, patients: str | None, message: str
) -> None:
    (plain / "patients.csv").unlink()
    if patients:
        (plain / "patients.csv").write_text(patients)
    config = FolderDataset(
        source="folder",
        path=str(plain),
        images={"ct": "images/{subject}_ct.nii.gz"},
        metadata="patients.csv",
    )
    with pytest.raises(CrossfoldError, match=message):
        import_dataset("ct", config, tmp_path / "ct")


def test_folder_pattern_without_a_match_shows_what_is_there(tmp_path: Path, plain: Path) -> None:
    config = FolderDataset(source="folder", path=str(plain), images={"ct": "{subject}_mr.nii.gz"})
    with pytest.raises(CrossfoldError, match=r"images/P_1_ct\.nii\.gz"):
        import_dataset("ct", config, tmp_path / "ct")


SUBJECTS = st.text("abcXYZ019.-_+ ", min_size=1)


@given(
    subject=SUBJECTS,
    pattern=st.sampled_from(
        ["{subject}.nii.gz", "a/{subject}/{subject}_ct?.nii.gz", "**/x(1)/{subject}+[ct].nii*"]
    ),
    below=st.sampled_from(["", "one/", "one/two/"]),
)
def test_pattern_finds_the_subject_it_was_filled_with(
    subject: str, pattern: str, below: str
) -> None:
    filled = pattern.replace("**/", below).replace("?", "1").replace("*", ".gz")
    match = subject_regex(pattern).fullmatch(filled.replace("{subject}", subject))
    assert match
    assert match["subject"] == subject


def test_second_subject_in_a_pattern_must_repeat_the_first() -> None:
    assert not subject_regex("{subject}/{subject}.nii").fullmatch("a/b.nii")


def test_phantom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(images: Path, *, subjects: int, seed: int) -> pd.DataFrame:
        (images / "p.nii.gz").write_text(f"{subjects} {seed}")
        return pd.DataFrame(
            [{"subject": "p", "channel": "ct", "filePath": f"{images.name}/p.nii.gz"}]
        )

    monkeypatch.setattr(importers, "make_phantom", draw)
    config = PhantomDataset(source="phantom", subjects=3, seed=5)
    import_dataset("phantom", config, tmp_path / "phantom")
    assert (tmp_path / "phantom/images/p.nii.gz").read_text() == "3 5"
    assert (tmp_path / "phantom/dataset.csv").read_text().splitlines()[1] == "p,ct,images/p.nii.gz"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "channels", "subjects"),
    [
        ("prostate", ["T2", "peripheral_zone", "central_gland"], 30),
        ("hippocampus", ["MRI", "Anterior", "Posterior"], 200),
    ],
)
def test_real_decathlon(
    tmp_path: Path,
    real_data: Callable[[str], Path],
    name: str,
    channels: list[str],
    subjects: int,
) -> None:
    config = DecathlonDataset(source="decathlon", path=str(real_data(name)), link=True)
    import_dataset(name, config, tmp_path / name)
    dataset = Dataset.read(tmp_path / name / "dataset.csv")
    assert len(dataset.subjects) == subjects
    assert list(dataset.table["channel"].unique()) == channels
    merged = dataset.label_map(dataset.subjects[0], channels[1:])
    assert set(np.unique(merged.array)) == {0, 1, 2}
    assert merged.array.shape == dataset.image(dataset.subjects[0], channels[0]).array.shape
