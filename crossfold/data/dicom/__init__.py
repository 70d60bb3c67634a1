"""DICOM in and out: series, RT-STRUCT and DICOM-SEG; needs the extra `dicom`, except `is_dicom`.

Positions and directions of DICOM are in mm towards left, posterior and superior (LPS); those of
`crossfold.images.Image` towards right, anterior and superior, as in NIfTI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crossfold.data.dicom.files import is_dicom
from crossfold.errors import CrossfoldError

if TYPE_CHECKING:
    from crossfold.data.dicom.importing import import_dicom
    from crossfold.data.dicom.series import Series, read_series
    from crossfold.data.dicom.writing import Author, write_segmentation, write_structure_set

__all__ = [
    "Author",
    "Series",
    "import_dicom",
    "is_dicom",
    "read_series",
    "write_segmentation",
    "write_structure_set",
]

_MODULES = {
    "Author": "writing",
    "Series": "series",
    "import_dicom": "importing",
    "read_series": "series",
    "write_segmentation": "writing",
    "write_structure_set": "writing",
}


def __getattr__(name: str) -> Any:
    """Import on first use, since an installation without the extra lacks what is imported."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        raise CrossfoldError(
            f"DICOM needs the package {error.name}, which is not installed",
            remedy="make setup-dicom, or convert the images to NIfTI",
        ) from error
