"""Which files are DICOM; needs no package beyond the core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PREAMBLE = 128
_MARK = b"DICM"


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or a folder holds at least one such file at any depth.

    A file counts if it bears the mark of PS3.10 (`DICM` behind 128 bytes), whatever its name.
    """
    if path.is_dir():
        return next(dicom_files(path), None) is not None
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE + len(_MARK))[_PREAMBLE:] == _MARK
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """Yield the DICOM files of a folder and its subfolders, in the order of their paths."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "DICOMDIR" and is_dicom(path):
            yield path
