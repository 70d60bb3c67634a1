"""One small picture per subject, for tables: an axial slice with both contours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage

from crossfold.data.dataset import Dataset
from crossfold.images import atomic_directory
from crossfold.paper.slices import Case, contour_colours, find_segmentation, read_case
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file

SIDE = 160
MOST_BYTES = 12_000
# Shades of grey, fewer and fewer until the file is small enough: noise does not compress.
GREYS = (48, 24, 12, 6)
_MARGIN = 0.15
_DASH = 3


def draw_thumbnails(
    dataset: Dataset,
    segmentations: Sequence[Path],
    subjects: Sequence[str],
    *,
    image: str,
    structures: Sequence[str],
    target_directory: Path,
    workers: int,
) -> None:
    """Draw the axial slice that takes most from each subject's mean Dice.

    The reference is pale and solid, the prediction full and dashed, as in the montages. A subject
    without a prediction shows the reference.

    Parameters
    ----------
    dataset
        Images and contours.
    segmentations
        Directories of predictions: the ensemble's, and those of the folds.
    subjects
        Whom to draw.
    image
        Channel to show.
    structures
        Structures in the order of their labels.
    target_directory
        Gets `<subject>.png`; appears whole or not at all.
    workers
        Number of processes.

    Raises
    ------
    CrossfoldError
        If an image or a label map cannot be read.
    """
    found = [find_segmentation(segmentations, subject) for subject in subjects]
    with atomic_directory(target_directory) as directory:
        if subjects:
            draw = partial(_draw, dataset, image, tuple(structures), directory)
            map_subjects(draw, list(subjects), found, workers=workers, title="thumbnails")


def _draw(
    dataset: Dataset,
    image: str,
    structures: tuple[str, ...],
    directory: Path,
    subject: str,
    segmentation: Path | None,
) -> None:
    case = read_case(dataset, segmentation, subject, image=image, structures=structures)
    subject_file(directory, subject, ".png").write_bytes(
        thumbnail(case, predicted=segmentation is not None)
    )


def thumbnail(case: Case, *, predicted: bool = True) -> bytes:
    """Return a picture of at most 160 x 160 pixels as PNG.

    Parameters
    ----------
    case
        Subject to draw.
    predicted
        Whether there is a prediction to outline.
    """
    view = case.view(case.extent_mm(_MARGIN * max(case.extent_mm(0)[:2])))[:2]
    place = case.slices[2]
    pixels, reference, prediction = (
        # Seen from the feet: the patient's right is at the left, the front at the top.
        array[..., place][view].T[::-1, ::-1]
        for array in (case.image, case.reference, case.prediction)
    )
    size = _size(pixels.shape, case.spacing_mm)
    grey = _resized(pixels.astype(np.float32), size, Picture.Resampling.BILINEAR)
    black, white = np.nanpercentile(pixels, (0.5, 99.5))
    shade = np.clip(np.nan_to_num((grey - black) / max(white - black, 1e-6)), 0, 1)
    outlines = [(reference, 0)] + ([(prediction, 1)] if predicted else [])
    lines = [
        (_outline(_resized(labels.astype(np.int32), size, Picture.Resampling.NEAREST), tone), tone)
        for labels, tone in outlines
    ]
    for greys in GREYS:
        encoded = _encode(shade, lines, greys)
        if len(encoded) <= MOST_BYTES:
            break
    return encoded


def _size(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int]:
    """Return width and height in pixels, in the proportions of the body."""
    high, wide = shape[0] * spacing_mm[1], shape[1] * spacing_mm[0]
    scale = SIDE / max(high, wide)
    return max(1, round(wide * scale)), max(1, round(high * scale))


def _resized(array: NDArray, size: tuple[int, int], how: Picture.Resampling) -> NDArray:
    return np.asarray(Picture.fromarray(np.ascontiguousarray(array)).resize(size, how))


def _outline(labels: NDArray, tone: int) -> NDArray:
    """Return the labels of the pixels at the edges of structures, in dashes if tone is 1."""
    inner = ndimage.minimum_filter(labels, size=3) == ndimage.maximum_filter(labels, size=3)
    outline = np.where(inner, 0, labels)
    if tone:
        rows, columns = np.indices(labels.shape)
        outline[(rows + columns) // _DASH % 2 == 1] = 0
    return outline


def _encode(shade: NDArray, lines: Sequence[tuple[NDArray, int]], greys: int) -> bytes:
    """Return a PNG with a palette of greys and of the colours of contours."""
    palette = [round(255 * grey / (greys - 1)) for grey in range(greys) for _ in range(3)]
    indices = np.rint(shade * (greys - 1)).astype(np.uint8)
    for outline, tone in lines:
        for value in np.unique(outline[outline > 0]):
            red, green, blue = (
                round(255 * part) for part in to_rgb(contour_colours(value - 1)[tone])
            )
            indices[outline == value] = len(palette) // 3
            palette += [red, green, blue]
    picture = Picture.fromarray(indices)
    picture.putpalette(palette)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
