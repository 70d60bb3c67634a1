from __future__ import annotations

from pathlib import Path

import pytest

from crossfold.errors import CrossfoldError
from crossfold.prediction.inputs import find_subjects


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    """macOS leaves them on every disk that is not its own."""
    folder = touch(tmp_path / "images", "a.nii.gz", "._a.nii.gz", ".part-b.nii.gz")
    assert [subject.name for subject in find_subjects([str(folder)], ["ct"], mask=None)] == ["a"]


def test_capital_letters_end_a_name_as_well(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", "A.NII.GZ", "b.Nii")
    assert [subject.name for subject in find_subjects([str(folder)], ["ct"], mask=None)] == [
        "A",
        "b",
    ]


def test_channels_are_numbered_as_in_nnu_net(tmp_path: Path) -> None:
    names = ("p_01_0000.nii.gz", "p_01_0001.nii.gz", "p_02_t1.nii.gz", "p_02_t2.nii.gz")
    folder = touch(tmp_path / "imagesTs", *names)
    found = find_subjects([str(folder)], ["t1", "t2"], mask=None)
    assert {
        subject.name: [subject.channels[name].path.name for name in ("t1", "t2")]
        for subject in found
    } == {"p_01": [*names[:2]], "p_02": [*names[2:]]}


def test_a_channel_whose_name_ends_another_is_not_that(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", "p1_t1.nii.gz", "p1_ce_t1.nii.gz")
    (subject,) = find_subjects([str(folder)], ["t1", "ce_t1"], mask=None)
    assert subject.problem is None
    assert subject.channels["t1"].path.name == "p1_t1.nii.gz"


def test_two_files_for_one_channel_are_refused(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", "p1_t1.nii.gz", "p1_0000.nii.gz", "p1_t2.nii.gz")
    (subject,) = find_subjects([str(folder)], ["t1", "t2"], mask=None)
    assert subject.problem is not None
    assert "p1_0000.nii.gz and p1_t1.nii.gz are both t1 of p1" in subject.problem.message


def test_links_in_a_series_lead_no_further_than_files(tmp_path: Path) -> None:
    secret = touch(tmp_path / "secret", "1.dcm") / "1.dcm"
    secret.write_bytes(bytes(128) + b"DICM")
    series = touch(tmp_path / "allowed") / "series"
    series.mkdir()
    (series / "1.dcm").symlink_to(secret)
    (subject,) = find_subjects([str(series)], ["ct"], mask=None, within=tmp_path / "allowed")
    assert subject.problem is not None
    assert "1.dcm: lies outside of" in subject.problem.message


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("", "names no file"),
        ("ct=", "names no file"),
        ("ct=none.nii.gz", "no such file"),
        ("images/a.nrrd", "neither NIfTI"),
        ("images", "no NIfTI image"),
    ],
)
def test_what_names_no_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, told: str
) -> None:
    touch(tmp_path / "images", "a.nrrd")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CrossfoldError, match=told):
        find_subjects([image], ["ct"], mask=None)


def test_a_folder_to_stay_within_has_to_exist(tmp_path: Path) -> None:
    folder = touch(tmp_path / "images", "a.nii.gz")
    with pytest.raises(CrossfoldError, match="--within"):
        find_subjects([str(folder)], ["ct"], mask=None, within=tmp_path / "imagse")
