"""DICOM series made of arrays, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite

Change = Callable[[Dataset], object]

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
OBLIQUE = tuple(
    np.linalg.qr(np.array([[0.9, -0.2, 0.3], [0.25, 0.95, -0.1], [-0.3, 0.2, 0.9]]))[0].T[:2]
)
INTERCEPT = -1024


def identifier(*parts: object) -> str:
    return uid.generate_uid(entropy_srcs=[str(part) for part in parts])


def write_series(
    folder: Path,
    array: np.ndarray,
    *,
    spacing_mm: tuple[float, float, float] = (2.0, 3.0, 4.0),
    orientation: tuple = AXIAL,
    origin_mm: tuple[float, float, float] = (-50.0, -40.0, 30.0),
    shear_mm: float = 0.0,
    patient: str = "4711",
    series: str = "",
    change: Change | None = None,
    compress: str | None = None,
) -> list[Path]:
    """Write a CT, one file for each slice, named in another order than they lie in.

    `array` is (column, row, slice) in HU, `spacing_mm` likewise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = series or str(folder)
    across, along = np.array(orientation)
    normal = np.cross(across, along)
    paths = []
    for z in range(array.shape[2]):
        dataset = _slice(array[..., z], patient, series, z)
        dataset.ImageOrientationPatient = [float(f"{x:.8f}") for x in (*across, *along)]
        position = np.array(origin_mm) + z * (spacing_mm[2] * normal + shear_mm * along)
        dataset.ImagePositionPatient = [float(f"{x:.6f}") for x in position]
        dataset.PixelSpacing = [spacing_mm[1], spacing_mm[0]]
        dataset.SliceThickness = spacing_mm[2]
        if change:
            change(dataset)
        if compress:
            dataset.compress(compress)
        path = folder / f"{(z * 7) % 1000:03d}.dcm"
        dcmwrite(path, dataset, enforce_file_format=True)
        paths.append(path)
    return paths


def _slice(plane: np.ndarray, patient: str, series: str, z: int) -> FileDataset:
    dataset = _dataset(uid.CTImageStorage, "CT", patient, series, identifier(series, z))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = z + 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, INTERCEPT
    dataset.KVP, dataset.AcquisitionNumber = 120, 1
    _set_pixels(dataset, plane.T)
    return dataset


def _dataset(kind: str, modality: str, patient: str, series: str, instance: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, instance
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, instance
    dataset.StudyInstanceUID = identifier("study", patient)
    dataset.SeriesInstanceUID = identifier("series", series)
    dataset.FrameOfReferenceUID = identifier("frame", series)
    dataset.PatientID, dataset.PatientName = patient, "Müller^Änne"
    dataset.PatientBirthDate, dataset.PatientSex = "19400102", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200304", "101112", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = modality, 3, "Pelvis"
    dataset.Manufacturer, dataset.PositionReferenceIndicator = "Scanners", ""
    return dataset


def _set_pixels(dataset: Dataset, rows: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = rows.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    stored = np.rint(rows - INTERCEPT).astype("<u2")
    dataset.PixelData = stored.tobytes()


def write_enhanced_series(
    path: Path, array: np.ndarray, spacing_mm: tuple[float, float, float] = (2.0, 3.0, 4.0)
) -> Path:
    """Write an enhanced CT: one file, its frames from top to bottom."""
    path.parent.mkdir(parents=True, exist_ok=True)
    series = str(path)
    kind = uid.EnhancedCTImageStorage
    dataset = _dataset(kind, "CT", "4711", series, identifier(series))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = "20200304", "101112"
    _set_pixels(dataset, array.T[::-1])
    dataset.NumberOfFrames = array.shape[2]
    orientation = _item("PlaneOrientationSequence", ImageOrientationPatient=[*AXIAL[0], *AXIAL[1]])
    measures = _item(
        "PixelMeasuresSequence",
        PixelSpacing=[spacing_mm[1], spacing_mm[0]],
        SliceThickness=spacing_mm[2],
    )
    values = _item(
        "PixelValueTransformationSequence",
        RescaleSlope=1,
        RescaleIntercept=INTERCEPT,
        RescaleType="HU",
    )
    shared = Dataset()
    for group in (orientation, measures, values):
        shared.update(group)
    dataset.SharedFunctionalGroupsSequence = [shared]
    heights = np.arange(array.shape[2])[::-1] * spacing_mm[2]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item("PlanePositionSequence", ImagePositionPatient=[-50.0, -40.0, float(height)])
        for height in heights
    ]
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


def _item(sequence: str, **values: object) -> Dataset:
    inner, outer = Dataset(), Dataset()
    for keyword, value in values.items():
        setattr(inner, keyword, value)
    setattr(outer, sequence, [inner])
    return outer
