"""Without the extra `dicom`, the tests of this folder are skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

pytest.importorskip("highdicom")

from tests.dicom_series import OBLIQUE, write_series

SHAPE = (30, 24, 9)


@pytest.fixture(scope="session")
def hounsfield() -> np.ndarray:
    return np.rint(np.random.default_rng(0).normal(0, 200, SHAPE)).clip(-1000, 3000)


@pytest.fixture(scope="session")
def segmentation() -> np.ndarray:
    """Blobs with holes and loose parts: 1 and 2; 3 is a single voxel, 4 touches every border."""
    noise = gaussian_filter(np.random.default_rng(1).normal(size=SHAPE), 1.5)
    labels = np.where(noise > 0.01, 1, 0).astype(np.uint8)
    labels[noise > 0.06] = 2
    labels[5, 5, 5] = 3
    labels[..., 4] = 4
    return labels


@pytest.fixture(scope="session", params=["axial", "oblique"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hounsfield: np.ndarray
) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "P1"
    options = {"orientation": OBLIQUE} if request.param == "oblique" else {}
    write_series(folder, hounsfield, **options)
    return folder
