"""RT-STRUCT (PS3.3 A.19) of a segmentation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.charset import default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.valuerep import DA, TM

from crossfold.data.dicom.derived import MANUFACTURER, Derived, reference_to
from crossfold.data.dicom.polygons import outline

_COPIED_IF_THERE = ("PatientIdentityRemoved", "DeidentificationMethod", "StudyDescription")

# The retired class of studies, which PS3.3 C.8.8.5 still asks to refer to.
_STUDY = "1.2.840.10008.3.1.2.3.1"
_SERIES_NUMBER = 9002
_CONTOUR_DATA = Tag("ContourData")


def make_structure_set(derived: Derived) -> FileDataset:
    """Return an RT-STRUCT with one ROI for each structure, also for one without voxels."""
    dataset = _new(derived)
    author, date = derived.author, derived.date
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = derived.uid("structure set series")
    dataset.SeriesNumber = _SERIES_NUMBER
    dataset.SeriesDescription = author.name[:64]
    dataset.OperatorsName = None
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = author.name[:64]
    dataset.DeviceSerialNumber = author.digest[:64]
    dataset.SoftwareVersions = author.version[:64]
    dataset.InstanceNumber = 1
    dataset.FrameOfReferenceUID = derived.frame_of_reference
    dataset.PositionReferenceIndicator = None
    dataset.StructureSetLabel = author.name[:16]
    dataset.StructureSetDate, dataset.StructureSetTime = DA(date.date()), TM(date.time())
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_references(derived)]
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    for number, name in enumerate(derived.labels, start=1):
        dataset.StructureSetROISequence.append(_roi(derived, number, name))
        dataset.ROIContourSequence.append(_contours(derived, number, name))
        dataset.RTROIObservationsSequence.append(_observation(number))
    return dataset


def _new(derived: Derived) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = uid.UID(derived.uid("structure set"))
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.InstanceCreationDate = DA(derived.date.date())
    dataset.InstanceCreationTime = TM(derived.date.time())
    dataset.StudyInstanceUID = derived.series.required("StudyInstanceUID")
    for keyword, value in derived.patient_and_study.items():
        setattr(dataset, keyword, value)
    for keyword in _COPIED_IF_THERE:
        if keyword in derived.source:
            setattr(dataset, keyword, derived.source.get(keyword))
    return dataset


def _references(derived: Derived) -> Dataset:
    """Name the study, the series and all of its slices."""
    series = Dataset()
    series.SeriesInstanceUID = derived.series.uid
    series.ContourImageSequence = [reference_to(frame) for frame in derived.series.frames]
    study = Dataset()
    study.ReferencedSOPClassUID = _STUDY
    study.ReferencedSOPInstanceUID = derived.series.required("StudyInstanceUID")
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference = Dataset()
    frame_of_reference.FrameOfReferenceUID = derived.frame_of_reference
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _roi(derived: Derived, number: int, name: str) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = derived.frame_of_reference
    roi.ROIName = name
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    return roi


def _observation(number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = number
    observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = None
    return observation


def _contours(derived: Derived, number: int, name: str) -> Dataset:
    roi = Dataset()
    roi.ROIDisplayColor = list(derived.rgb(name))
    roi.ReferencedROINumber = number
    roi.ContourSequence = []
    mask = derived.mask(name)
    for z in np.flatnonzero(mask.any(axis=(0, 1))):
        reference = reference_to(derived.series.frames[z])
        for points in _outlines_mm(derived, mask, int(z)):
            contour = Dataset()
            contour.ContourImageSequence = [reference]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour[_CONTOUR_DATA] = _decimals(points)
            contour.set_original_encoding(False, True, default_encoding)  # bytes stay as they are
            roi.ContourSequence.append(contour)
    if not roi.ContourSequence:
        del roi.ContourSequence  # of type 3: absent rather than empty
    return roi


def _outlines_mm(
    derived: Derived, mask: NDArray[np.bool_], z: int
) -> Iterator[NDArray[np.float64]]:
    affine = derived.series.affine_lps
    for polygon in outline(mask[..., z]):
        yield polygon @ affine[:3, :2].T + affine[:3, 2] * z + affine[:3, 3]


def _decimals(points: NDArray[np.float64]) -> RawDataElement:
    """Write mm to a tenth of a micrometre, within the 16 letters of a decimal string.

    As bytes, since pydicom would check each of a million numbers by itself.
    """
    text = "\\".join([f"{number:.4f}".rstrip("0").rstrip(".") for number in points.ravel()])
    value = text.encode("ascii")
    value += b" " * (len(value) % 2)
    return RawDataElement(_CONTOUR_DATA, "DS", len(value), value, 0, False, True)
