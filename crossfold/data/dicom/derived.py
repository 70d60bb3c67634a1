"""What DICOM-SEG and RT-STRUCT share: origin, identifiers, dates, patient and study."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from crossfold import __version__
from crossfold.data.dicom.frames import Frame
from crossfold.data.dicom.series import Series

MANUFACTURER = "Crossfold"

_NAMESPACE = uuid.UUID("6b1b7d2e-8a0a-5d56-9d0c-3d1f3f0c5a77")  # drawn once, for uuid5
_NO_DATE = datetime(1970, 1, 1)
_SEXES = ("M", "F", "O")

# What objects say of patient and study, without a value where the series has none (type 2).
_PATIENT_AND_STUDY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
)


@dataclass(frozen=True)
class Author:
    """What made a segmentation.

    Parameters
    ----------
    name
        Name of the model.
    version
        Its version.
    digest
        What identifies its weights, such as the digest of its bundle.
    """

    name: str = MANUFACTURER
    version: str = __version__
    digest: str = "none"


@dataclass(frozen=True)
class Derived:
    """A segmentation of a series, about to be written.

    Parameters
    ----------
    series
        What was segmented.
    segmentation
        uint16 (x, y, z).
    labels
        Labels of each structure.
    colours
        Colour of each structure, `#RRGGBB`.
    author
        What made it.
    created
        Date of the content; None for that of the series.
    """

    series: Series
    segmentation: NDArray[np.uint16]
    labels: dict[str, tuple[int, ...]]
    colours: dict[str, str]
    author: Author
    created: datetime | None

    @property
    def source(self) -> Dataset:
        """Header of the first slice."""
        return self.series.frames[0].header

    @cached_property
    def frame_of_reference(self) -> str:
        """The FrameOfReferenceUID."""
        return self.series.required("FrameOfReferenceUID")

    @cached_property
    def date(self) -> datetime:
        """Date of the content."""
        if self.created:
            return self.created
        for kind in ("Acquisition", "Series", "Study"):
            day, time = (self._valid(f"{kind}{part}") for part in ("Date", "Time"))
            if day:
                return datetime.combine(DA(day), TM(time or "000000")).replace(tzinfo=None)
        return _NO_DATE

    @property
    def patient_and_study(self) -> dict[str, Any]:
        """What is said of patient and study; None where the series has nothing, or nothing valid.

        Anonymisation may leave a date of zeros, or words where DICOM wants a code.
        """
        return {keyword: self._valid(keyword) for keyword in _PATIENT_AND_STUDY}

    def _valid(self, keyword: str) -> Any:
        value = self.source.get(keyword) or None
        try:
            if keyword.endswith("Date"):
                DA(value)
            elif keyword.endswith("Time"):
                TM(value)
            elif keyword == "PatientSex" and value not in (None, *_SEXES):
                return None
        except ValueError:
            return None
        return value

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Voxels of a structure, (x, y, z)."""
        return np.isin(self.segmentation, self.labels[name])

    def rgb(self, name: str) -> tuple[int, int, int]:
        """Colour of a structure, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colours[name].removeprefix("#"))
        return red, green, blue

    def uid(self, purpose: str) -> str:
        """Return an identifier that the same content always gets (PS3.5 B.2, from a UUID)."""
        return f"2.25.{uuid.uuid5(_NAMESPACE, f'{self._digest} {purpose}').int}"

    @cached_property
    def _digest(self) -> str:
        about = {
            "instances": [str(header.SOPInstanceUID) for header in self.series.datasets],
            "shape": self.segmentation.shape,
            "labels": self.labels,
            "colours": self.colours,
            "author": asdict(self.author),
            "date": self.date.isoformat(),
        }
        digest = hashlib.sha256(json.dumps(about).encode())
        digest.update(np.ascontiguousarray(self.segmentation).astype("<u2").tobytes())
        return digest.hexdigest()


def reference_to(frame: Frame) -> Dataset:
    """Return the reference to a slice that other objects hold."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = frame.header.SOPClassUID
    reference.ReferencedSOPInstanceUID = frame.header.SOPInstanceUID
    if frame.groups:
        reference.ReferencedFrameNumber = frame.index + 1
    return reference
