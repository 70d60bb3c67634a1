"""A synthetic pelvic CT data set with the seven structures of InnerEye's prostate model.

The phantom lets every step of the pipeline run without patient data. It is meant to be hard
rather than pretty: anatomy, filling and pose vary, soft tissues differ by a few HU under
correlated noise, and three institutions scan on three grids.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from crossfold.data.dataset import COLUMNS
from crossfold.data.phantom.patient import Patient, Visit
from crossfold.data.phantom.pelvis import STRUCTURES, paint_pelvis
from crossfold.data.phantom.shapes import random_stream
from crossfold.errors import CrossfoldError
from crossfold.images import Image, write_image
from crossfold.parallel import available_cores, map_subjects


@dataclass(frozen=True)
class Scanner:
    """How an institution scans: grid, sharpness and noise."""

    institution: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    blur_voxels: float
    noise_hu: float


SCANNERS = (
    Scanner("phantom_a", (96, 72, 40), (4.0, 4.0, 5.0), 0.45, 11.0),
    Scanner("phantom_b", (110, 82, 34), (3.5, 3.5, 6.0), 0.55, 15.0),
    Scanner("phantom_c", (86, 64, 50), (4.5, 4.5, 4.0), 0.40, 19.0),
)

# Every tenth subject is a second scan of the one three before it (on the same scanner).
_REPEAT_EVERY, _REPEAT_OF = 10, 3


def make_phantom(images: Path, *, subjects: int, seed: int) -> pd.DataFrame:
    """Write the CT and the label map of every subject and return the rows of dataset.csv.

    Subject `n` depends on `seed` and `n` alone: 30 and 40 subjects share the first 30, and two
    runs write the same bytes. Subjects 10, 20, ... are second scans of subjects 7, 17, ...: the
    same anatomy on another day, with another filling of bladder and rectum; both carry the first
    one's name as `group`.

    Parameters
    ----------
    images
        Folder to write `<subject>_ct.nii.gz` (int16, HU) and `<subject>_structures.nii.gz`
        (uint8, values of `STRUCTURES`) to.
    subjects
        How many.
    seed
        Seed of every draw.

    Returns
    -------
    pandas.DataFrame
        One row per subject and channel, all columns str; `filePath` is relative to the folder
        above `images`.

    Raises
    ------
    CrossfoldError
        If `subjects` is not positive.
    """
    if subjects < 1:
        raise CrossfoldError(
            f"phantom: subjects = {subjects}", remedy="ask for one subject or more"
        )
    images = Path(images)
    images.mkdir(parents=True, exist_ok=True)
    numbers = range(1, subjects + 1)
    _write_all(images, seed, numbers)
    rows = [row for number in numbers for row in _rows(number, images.name)]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def scan_phantom(number: int, *, seed: int) -> tuple[Image, NDArray[np.uint8]]:
    """Make one subject without writing it.

    Returns
    -------
    Image
        int16 CT (x, y, z) in HU; axes point right, anterior and superior.
    labels
        (x, y, z) uint8 map, values of `STRUCTURES`.
    """
    scanner = _scanner(number)
    affine = np.diag([*scanner.spacing_mm, 1.0])
    # Height of the femoral heads: a little below the middle of the image.
    isocentre_mm = np.asarray((0, -14, 10))
    affine[:3, 3] = isocentre_mm - (np.asarray(scanner.shape) - 1) / 2 * scanner.spacing_mm
    axes_mm = [
        affine[axis, 3] + scanner.spacing_mm[axis] * np.arange(count)
        for axis, count in enumerate(scanner.shape)
    ]
    points_mm = np.stack(np.meshgrid(*axes_mm, indexing="ij")).astype(np.float32)
    patient = Patient.draw(seed, _original(number))
    ct, labels = paint_pelvis(
        points_mm,
        voxel_mm=float(np.cbrt(np.prod(scanner.spacing_mm))),
        patient=patient,
        visit=Visit.draw(seed, number),
    )
    _paint_couch(ct, points_mm, below_mm=-12 - patient.half_depth_mm)
    scanned = _acquire(ct, points_mm, scanner, random_stream(seed, number, "scanner"))
    return Image(scanned, affine, _header(scanner.shape, affine)), labels


def _paint_couch(ct: NDArray[np.float32], points_mm: NDArray[np.float32], below_mm: float) -> None:
    """Put a carbon-fibre shell filled with foam under the patient, where there is only air."""
    x, y, _ = points_mm
    edge = np.maximum(np.abs(x) - 200, np.abs(y - below_mm + 16) - 14)
    couch = np.where(np.abs(edge + 2) < 2.5, -350, -920)
    np.copyto(ct, couch.astype(np.float32), where=(edge < 0) & (ct < -930))


def _acquire(
    ct: NDArray[np.float32],
    points_mm: NDArray[np.float32],
    scanner: Scanner,
    random: np.random.Generator,
) -> NDArray[np.int16]:
    """Blur, cupping, correlated noise, and streaks where rays cross both hips."""
    blurred = gaussian_filter(ct, (scanner.blur_voxels, scanner.blur_voxels, 0.3))
    x, y, z = points_mm
    body = blurred > -500
    cupping = random.uniform(-8, 8) * (x**2 + y**2) / 150**2 + random.uniform(-6, 6) * x / 150
    dose = scanner.noise_hu * random.uniform(0.8, 1.35)
    noise = dose * _unit_noise(random, ct.shape, (0.7, 0.7, 0.3))
    between_hips = np.exp(-((z / 28) ** 2) - (y / 35) ** 2)
    streaks = random.uniform(0, 1.2) * dose * _unit_noise(random, ct.shape, (9, 0.5, 0.3))
    scanned = blurred + body * cupping + noise * (0.35 + 0.65 * body) + streaks * between_hips
    return np.clip(np.rint(scanned), -1024, 3071).astype(np.int16)


def _unit_noise(
    random: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Gaussian noise of standard deviation 1, correlated over `sigma` voxels."""
    noise = gaussian_filter(random.standard_normal(shape, dtype=np.float32), sigma)
    return noise / noise.std()


def _header(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    header.set_xyzt_units("mm", "sec")
    return header


def _write_all(images: Path, seed: int, numbers: range) -> None:
    write = partial(_write_subject, images, seed)
    map_subjects(write, numbers, workers=available_cores(), title="phantom")


def _write_subject(images: Path, seed: int, number: int) -> None:
    image, labels = scan_phantom(number, seed=seed)
    write_image(images / f"{_subject(number)}_ct.nii.gz", image.array, image)
    write_image(images / f"{_subject(number)}_structures.nii.gz", labels, image)


def _rows(number: int, folder: str) -> list[dict[str, str]]:
    """The rows of one subject; like its images they depend on nothing but its number."""
    subject, original = _subject(number), _original(number)
    is_repeated = original != number or _original(number + _REPEAT_OF) == number
    common = {
        "subject": subject,
        "volume": "",
        "acquisition_date": (date(2020, 1, 1) + timedelta(days=3 * number)).isoformat(),
        "institutionId": _scanner(number).institution,
        "seriesId": f"series_{number:03d}",
        "tags": "[synthetic]",
        "group": _subject(original) if is_repeated else "",
    }
    structures = f"{folder}/{subject}_structures.nii.gz"
    ct = {"channel": "ct", "filePath": f"{folder}/{subject}_ct.nii.gz", "label": ""}
    return [common | ct] + [
        common | {"channel": name, "filePath": structures, "label": str(label)}
        for name, label in STRUCTURES.items()
    ]


def _subject(number: int) -> str:
    return f"phantom_{number:03d}"


def _original(number: int) -> int:
    return number - _REPEAT_OF if number % _REPEAT_EVERY == 0 else number


def _scanner(number: int) -> Scanner:
    return SCANNERS[(number - 1) % len(SCANNERS)]
