from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from crossfold.config.datasets import DicomDataset
from crossfold.data.dataset import Dataset as Images
from crossfold.data.dicom import read_series, write_segmentation, write_structure_set
from crossfold.data.importers import import_dataset
from crossfold.errors import CrossfoldError
from crossfold.images import read_labels
from tests.dicom_series import write_series

STRUCTURES = {"bladder": ["Bladder", "bladder*"], "rectum": "RECT*"}


def config(source: Path, **options: object) -> DicomDataset:
    values = {"source": "dicom", "path": str(source), "images": {"ct": "CT"}}
    return DicomDataset.model_validate(values | {"structures": STRUCTURES} | options)


@pytest.fixture
def write_subject(hounsfield: np.ndarray, segmentation: np.ndarray):
    """Write a CT and its contours, in folders of their own."""

    def write(source: Path, name: str, patient: str, seg: bool = False, **options: object) -> None:
        write_series(source / name / "ct", hounsfield, patient=patient, **options)
        series = read_series(source / name / "ct")
        names = ["BLADDER", "Rectum ", "z_other", "PTV"]
        write = write_segmentation if seg else write_structure_set
        write(series, segmentation, names, source / name / "contours" / "c.dcm")

    return write


@pytest.fixture
def source(tmp_path: Path, write_subject) -> Path:
    source = tmp_path / "source"
    write_subject(source, "P1", "4711")
    write_subject(source, "P2", "4712", seg=True)
    write_subject(source, "P3", "4711")
    write_series(source / "P4" / "uncontoured", np.zeros((4, 3, 5)))
    return source


def test_series_become_images_and_contours_masks(
    source: Path, tmp_path: Path, hounsfield: np.ndarray, segmentation: np.ndarray
) -> None:
    table = import_dataset("pelvis", config(source), tmp_path / "pelvis")
    dataset = Images.read(tmp_path / "pelvis/dataset.csv")
    assert dataset.subjects == ["P1", "P2", "P3"]
    assert list(table["group"]) == ["P1"] * 3 + [""] * 3 + ["P1"] * 3
    for subject in dataset.subjects:
        assert np.array_equal(dataset.image(subject, "ct").array, hounsfield)
        for label, structure in enumerate(("bladder", "rectum"), start=1):
            mask = read_labels(dataset.path(subject, structure)).array
            assert np.array_equal(mask, segmentation == label)


def test_nothing_of_the_patient_is_in_the_dataset(source: Path, tmp_path: Path) -> None:
    import_dataset("pelvis", config(source), tmp_path / "pelvis")
    for file in (tmp_path / "pelvis").rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for secret in ("4711", "ller", "19400102", "20200304", "1.2.826", "Scanners"):
            assert secret not in str(file.relative_to(tmp_path))
            assert file.suffix == ".gz" or secret.encode() not in content


def test_a_folder_named_after_its_patient_is_refused(
    write_subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate(("4711", "x_4711", "MUELLER_müller", "anna_4711_ct")):
        source = tmp_path / f"source{i}"
        write_subject(source, name, "4711")
        with pytest.raises(CrossfoldError, match="bears the name or PatientID"):
            import_dataset("pelvis", config(source), tmp_path / "pelvis")
    assert not (tmp_path / "pelvis/images").exists()
    table = import_dataset("pelvis", config(source, subjects="patient_id"), tmp_path / "pelvis")
    assert set(table["subject"]) == {"4711"}
    monkeypatch.setenv("KEY", "secret")
    hidden = config(source, subjects="pseudonym", pseudonym_key="$KEY")
    (subject,) = set(import_dataset("pelvis", hidden, tmp_path / "pelvis")["subject"])
    assert len(subject) == 12
    assert subject != "4711"
    monkeypatch.setenv("KEY", "another")
    assert set(import_dataset("pelvis", hidden, tmp_path / "pelvis")["subject"]) != {subject}


def test_a_series_whose_identity_was_removed_may_name_its_folder(
    write_subject, tmp_path: Path
) -> None:
    def removed(dataset: Dataset) -> None:
        dataset.PatientIdentityRemoved = "YES"

    write_subject(tmp_path / "source", "LUNG-001", "LUNG-001", change=removed)
    table = import_dataset("lung", config(tmp_path / "source"), tmp_path / "lung")
    assert set(table["subject"]) == {"LUNG-001"}


def test_several_series_of_a_patient_are_numbered_and_stay_together(
    source: Path, tmp_path: Path
) -> None:
    options = config(source, subjects="patient_id")
    table = import_dataset("pelvis", options, tmp_path / "pelvis")
    groups = dict(zip(table["subject"], table["group"], strict=True))
    # The name that the patient has with one series: another one moves nobody to another split.
    assert groups == {"4711-1": "4711", "4711-2": "4711", "4712": ""}


@pytest.mark.parametrize("patient", ["", "ANON"])
def test_series_in_the_folder_of_a_subject_stay_together_whatever_the_headers_say(
    write_subject, tmp_path: Path, patient: str
) -> None:
    source = tmp_path / "source"
    for name in ("P1", "P2", "P3"):
        write_subject(source, name, patient)
    write_subject(source / "P1", "again", patient)
    table = import_dataset("pelvis", config(source), tmp_path / "pelvis")
    groups = dict(zip(table["subject"], table["group"], strict=True))
    assert groups == {"P1-1": "P1", "P1-2": "P1", "P2": "", "P3": ""}


def test_folders_and_patients_that_overlap_are_one_group(write_subject, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write_subject(source, "P3", "4711")
    write_subject(source, "P2", "4712")
    write_subject(source / "P2", "other", "4711")
    write_subject(source, "P1", "4713")
    table = import_dataset("pelvis", config(source), tmp_path / "pelvis")
    groups = dict(zip(table["subject"], table["group"], strict=True))
    assert groups == {"P1": "", "P2-1": "P2", "P2-2": "P2", "P3": "P2"}


def test_a_patient_without_a_name_is_not_called_none(write_subject, tmp_path: Path) -> None:
    def nameless(dataset: Dataset) -> None:
        del dataset.PatientName

    write_subject(tmp_path / "source", "nonenhanced_01", "4711", change=nameless)
    table = import_dataset("pelvis", config(tmp_path / "source"), tmp_path / "pelvis")
    assert set(table["subject"]) == {"nonenhanced_01"}


def test_a_damaged_series_stops_the_import_or_is_left_out(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "P2/ct/021.dcm").unlink()
    with pytest.raises(CrossfoldError, match=r"1 subjects cannot(.|\n)*P2/ct: missing slices: 1"):
        import_dataset("pelvis", config(source), tmp_path / "pelvis")
    assert not (tmp_path / "pelvis/images").exists()
    table = import_dataset("pelvis", config(source, on_problem="exclude"), tmp_path / "pelvis")
    assert set(table["subject"]) == {"P1", "P3"}


def test_contours_count_for_the_series_that_they_were_drawn_on(
    source: Path, tmp_path: Path, hounsfield: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """P1 has a second series, not contoured; the contoured one of P2 is gone, another is there."""
    write_series(source / "P1/again", hounsfield + 1)
    shutil.rmtree(source / "P2/ct")
    write_series(source / "P2/another", hounsfield + 1, patient="4712")
    import_dataset("pelvis", config(source), tmp_path / "pelvis")
    dataset = Images.read(tmp_path / "pelvis/dataset.csv")
    assert dataset.subjects == ["P1", "P3"]
    assert np.array_equal(dataset.image("P1", "ct").array, hounsfield)
    assert "P2/contours/c.dcm: the series that it was drawn on is not there" in caplog.text


def test_a_structure_that_nobody_has_is_refused_with_the_names_that_there_are(
    source: Path, tmp_path: Path
) -> None:
    options = config(source, structures={"liver": "Liver"})
    with pytest.raises(CrossfoldError, match=r"no subject has liver; .* BLADDER, PTV, Rectum"):
        import_dataset("pelvis", options, tmp_path / "pelvis")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": {"t2": "MR"}}, "no series in .* there is CT Pelvis"),
        ({"subjects": "pseudonym", "pseudonym_key": "$NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
        ({"structures": {"both": "*"}}, "matches more than one structure: `BLADDER`"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    source: Path, tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(CrossfoldError, match=message):
        import_dataset("pelvis", config(source, **options), tmp_path / "pelvis")


def test_a_key_in_plain_text_and_a_name_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="must not stand in a file"):
        config(tmp_path, subjects="pseudonym", pseudonym_key="secret")
    with pytest.raises(ValidationError, match="`ct` is an image and a structure"):
        config(tmp_path, structures={"ct": "ct"})


def test_a_missing_extra_is_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("crossfold.data.dicom.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(CrossfoldError, match="make setup-dicom"):
        import_dataset("pelvis", config(source), tmp_path / "pelvis")
