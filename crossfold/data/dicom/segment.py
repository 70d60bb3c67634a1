"""DICOM-SEG (PS3.3 A.51) of a segmentation."""

from __future__ import annotations

import warnings
from copy import copy

import highdicom as hd
import numpy as np
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, DT, TM

from crossfold.data.dicom.derived import MANUFACTURER, Derived
from crossfold.errors import CrossfoldError

# What a structure is called tells nothing about its code; viewers show the label.
_CATEGORY = Code("123037004", "SCT", "Anatomical Structure")
_TYPE = Code("113343008", "SCT", "Organ")
_FAMILY = Code("123109", "DCM", "Artificial Intelligence")

_SERIES_NUMBER = 9001


def make_segmentation(derived: Derived) -> Dataset:
    """Return a DICOM-SEG of the type BINARY with one segment for each structure.

    Raises
    ------
    CrossfoldError
        If the series cannot be referred to.
    """
    author, date = derived.author, derived.date
    _ = derived.frame_of_reference
    # It takes a name without `^`, usual after pseudonymisation, for a mistake, and copies it.
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            dataset = hd.seg.Segmentation(
                source_images=_complete(derived),
                pixel_array=_pixels(derived),
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[
                    _describe(derived, number, name)
                    for number, name in enumerate(derived.labels, start=1)
                ],
                series_instance_uid=derived.uid("segmentation series"),
                series_number=_SERIES_NUMBER,
                sop_instance_uid=derived.uid("segmentation"),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=author.name[:64],
                software_versions=author.version[:64],
                device_serial_number=author.digest[:64],
                series_description=author.name[:64],
                content_label="SEGMENTATION",
                content_date=DA(date.date()),
                content_time=TM(date.time()),
            )
    except (AttributeError, TypeError, ValueError) as error:
        raise CrossfoldError(
            f"{derived.series.name}: its headers do not suffice for DICOM-SEG ({error})",
            remedy="write RT-STRUCT or NIfTI, or export the original series",
        ) from error
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ContentCreatorName = None
    _make_reproducible(dataset, derived)
    return dataset


def _complete(derived: Derived) -> list[Dataset]:
    """Give the first header, from which highdicom copies, what is said of patient and study."""
    first, *others = derived.series.datasets
    first = copy(first)
    for keyword, value in derived.patient_and_study.items():
        setattr(first, keyword, value)
    return [first, *others]


def _pixels(derived: Derived) -> NDArray:
    """Return (frame, row, column) with segment numbers, or with a last axis where these overlap."""
    frames = derived.series.frames
    numbers = {id(header): i for i, header in enumerate(derived.series.datasets)}
    order = np.lexsort(
        ([frame.index for frame in frames], [numbers[id(frame.header)] for frame in frames])
    )
    segmentation = derived.segmentation.T[order]
    used = [label for labels in derived.labels.values() for label in labels]
    if len(set(used)) < len(used):
        masks = [np.isin(segmentation, labels) for labels in derived.labels.values()]
        return np.stack(masks, axis=-1)
    segments = np.zeros(2**16, dtype=np.uint8 if len(derived.labels) < 2**8 else np.uint16)
    for number, labels in enumerate(derived.labels.values(), start=1):
        segments[list(labels)] = number
    return segments[segmentation]


def _describe(derived: Derived, number: int, name: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=_CATEGORY,
        segmented_property_type=_TYPE,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=derived.author.name[:64], family=_FAMILY, version=derived.author.version[:64]
        ),
        display_color=CIELabColor.from_rgb(*derived.rgb(name)),
    )


def _make_reproducible(dataset: Dataset, derived: Derived) -> None:
    """Replace the present time and an identifier that highdicom draws at random."""
    date, uid = derived.date, derived.uid("dimensions")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = DA(date.date()), TM(date.time())
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = DT(date)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
