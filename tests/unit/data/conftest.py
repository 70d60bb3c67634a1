from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_nifti() -> Callable[..., Path]:
    """Write an array as NIfTI, whatever its type and dimension."""

    def write(
        path: Path, array: np.ndarray, affine: np.ndarray | None = None, dtype: type = np.float32
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.eye(4) if affine is None else affine
        nib.save(nib.Nifti1Image(array.astype(dtype), affine), path)
        return path

    return write
