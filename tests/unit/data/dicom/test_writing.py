from __future__ import annotations

from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from crossfold.data.dicom import Author, read_series, write_segmentation, write_structure_set
from crossfold.errors import CrossfoldError
from tests.dicom_series import write_series

WRITERS = {"seg": write_segmentation, "rtstruct": write_structure_set}
NAMES = ["bladder", "rectum", "Ünder scored", "slice"]


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_input_gives_the_same_bytes(
    kind: str, folder: Path, segmentation: np.ndarray, tmp_path: Path
) -> None:
    series = read_series(folder)

    def written(labels: np.ndarray, **options) -> Dataset:
        path = tmp_path / "out.dcm"
        WRITERS[kind](series, labels, NAMES, path, **options)
        return path.read_bytes(), pydicom.dcmread(path)

    first, dataset = written(segmentation)
    assert written(segmentation)[0] == first
    other = segmentation.copy()
    other[0, 0, 0] = 3
    for changed in (
        written(other)[1],
        written(segmentation, author=Author("Prostate", "3"))[1],
        written(segmentation, created=datetime(2026, 1, 2))[1],
    ):
        assert changed.SOPInstanceUID != dataset.SOPInstanceUID
        assert changed.SeriesInstanceUID != dataset.SeriesInstanceUID


@pytest.mark.parametrize("kind", WRITERS)
def test_it_belongs_to_patient_study_and_series(
    kind: str, folder: Path, segmentation: np.ndarray, tmp_path: Path
) -> None:
    series = read_series(folder)
    author = Author("Prostate", "3", "0123abc")
    WRITERS[kind](series, segmentation, NAMES, tmp_path / "out.dcm", author=author)
    dataset, source = pydicom.dcmread(tmp_path / "out.dcm"), series.datasets[0]
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *("StudyInstanceUID", "StudyDate", "StudyID", "FrameOfReferenceUID"),
    ):
        assert dataset.get(keyword) == source.get(keyword), keyword
    assert str(dataset.PatientName) == "Müller^Änne"
    assert (dataset.ManufacturerModelName, dataset.SoftwareVersions) == ("Prostate", "3")
    assert dataset.DeviceSerialNumber == "0123abc"
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
    assert len(dataset.SOPInstanceUID) <= 64


def test_contours_refer_to_the_slices_that_they_lie_on(
    folder: Path, segmentation: np.ndarray, tmp_path: Path
) -> None:
    series = read_series(folder)
    write_structure_set(
        series, segmentation, NAMES, tmp_path / "out.dcm", colours={"slice": "#0102ff"}
    )
    dataset = pydicom.dcmread(tmp_path / "out.dcm")
    slices = {header.SOPInstanceUID: header for header in series.datasets}
    (frame,) = dataset.ReferencedFrameOfReferenceSequence
    (referenced,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert [r.ReferencedSOPInstanceUID for r in referenced.ContourImageSequence] == [*slices]
    assert dataset.ROIContourSequence[3].ROIDisplayColor == [1, 2, 255]
    for roi in dataset.ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints >= 4
            header = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            row, column = np.array(header.ImageOrientationPatient).reshape(2, 3)
            off = (points - np.array(header.ImagePositionPatient)) @ np.cross(row, column)
            assert np.abs(off).max() < 1e-3


def test_highdicom_reads_the_segmentation(
    folder: Path, segmentation: np.ndarray, tmp_path: Path
) -> None:
    series = read_series(folder)
    write_segmentation(series, segmentation, NAMES, tmp_path / "out.dcm")
    read = hd.seg.segread(tmp_path / "out.dcm")
    pixels = read.get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in series.datasets],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(pixels.T, segmentation)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", WRITERS)
def test_a_name_of_one_part_is_kept_without_a_word(
    kind: str, hounsfield: np.ndarray, segmentation: np.ndarray, tmp_path: Path
) -> None:
    def pseudonymise(dataset: Dataset) -> None:
        dataset.PatientName = "anon1"

    write_series(tmp_path / "ct", hounsfield, change=pseudonymise)
    WRITERS[kind](read_series(tmp_path / "ct"), segmentation, NAMES, tmp_path / "out.dcm")
    assert pydicom.dcmread(tmp_path / "out.dcm").PatientName == "anon1"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("keyword", "left"),
    [
        ("StudyDate", "00000000"),
        ("StudyDate", "REMOVED"),
        ("StudyTime", "10:11:12"),
        ("PatientBirthDate", "19000000"),
        ("PatientSex", "Unknown"),
    ],
)
def test_what_anonymisation_leaves_is_no_reason_to_stop(
    kind: str,
    keyword: str,
    left: str,
    hounsfield: np.ndarray,
    segmentation: np.ndarray,
    tmp_path: Path,
) -> None:
    def anonymise(dataset: Dataset) -> None:
        setattr(dataset, keyword, left)

    with pydicom.config.disable_value_validation():
        write_series(tmp_path / "ct", hounsfield, change=anonymise)
    WRITERS[kind](read_series(tmp_path / "ct"), segmentation, NAMES, tmp_path / "out.dcm")
    assert pydicom.dcmread(tmp_path / "out.dcm")[keyword].value in ("", None)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_series_with_few_headers(
    kind: str, hounsfield: np.ndarray, segmentation: np.ndarray, tmp_path: Path
) -> None:
    def anonymise(dataset: Dataset) -> None:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
            delattr(dataset, keyword)

    write_series(tmp_path / "ct", hounsfield, change=anonymise)
    WRITERS[kind](read_series(tmp_path / "ct"), segmentation, NAMES, tmp_path / "out.dcm")
    assert not pydicom.dcmread(tmp_path / "out.dcm").PatientName


@pytest.mark.parametrize("kind", WRITERS)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    kind: str, hounsfield: np.ndarray, segmentation: np.ndarray, tmp_path: Path
) -> None:
    write_series(
        tmp_path / "ct", hounsfield, change=lambda dataset: delattr(dataset, "FrameOfReferenceUID")
    )
    series = read_series(tmp_path / "ct")
    path = tmp_path / "out.dcm"
    with pytest.raises(CrossfoldError, match="FrameOfReferenceUID is missing"):
        WRITERS[kind](series, segmentation, NAMES, path)
    with pytest.raises(CrossfoldError, match="but its segmentation"):
        WRITERS[kind](series, segmentation[1:], NAMES, path)
    with pytest.raises(CrossfoldError, match="name of a structure"):
        WRITERS[kind](series, segmentation, ["a\\b"], path)
    assert [file.name for file in tmp_path.iterdir()] == ["ct"]
