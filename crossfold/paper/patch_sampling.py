"""Where training looks: maps of the crops that are drawn of a subject."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from crossfold.config.figures import FiguresConfig
from crossfold.data.dataset import Dataset
from crossfold.data.resampling import resample
from crossfold.images import atomic_directory, write_image
from crossfold.learning.sampling import CropSampler
from crossfold.paper import style
from crossfold.paper.slices import AXES, Case, contour_colours
from crossfold.parallel import map_subjects
from crossfold.paths import subject_file

HEIGHT_MM = 62.0
COLOURS = "inferno"


def draw_patch_sampling(
    dataset: Dataset,
    sampler: CropSampler,
    target_directory: Path,
    *,
    image: str,
    structures: Sequence[str],
    draws: int,
    seed: int,
    config: FiguresConfig,
) -> None:
    """Write how many of the crops that are drawn of a subject hold each of its voxels.

    Parameters
    ----------
    dataset
        Images and contours.
    sampler
        Draws the crops, as it does for training; all of its subjects get a map. (Augmentation
        rotates what lies in a crop, and moves none.)
    target_directory
        Gets `<subject>.nii.gz`, numbers of crops as uint16 on the grid of the source image, and
        `<subject>.png`; appears whole or not at all.
    image
        Channel to show.
    structures
        Structures in the order of their labels.
    draws
        Crops per subject.
    seed
        Seed of the draws.
    config
        Section `figures`.
    """
    with atomic_directory(target_directory) as directory, mpl.rc_context(style.parameters(config)):

        def draw(index: int) -> None:
            subject = sampler.subjects[index]
            counts = sampled(sampler, index, draws, np.random.default_rng([seed, index]))
            source = dataset.image(subject, image)
            ras = source.to_ras()
            on_source = np.rint(resample(counts, ras.array.shape)).astype(np.uint16)
            write_image(subject_file(directory, subject), source.from_ras(on_source), source)
            labels = dataset.label_map(subject, structures).to_ras().array
            case = Case(ras.array, labels, labels, ras.spacing_mm)
            picture = subject_file(directory, subject, ".png")
            _draw_picture(case, on_source / draws, picture, config)

        map_subjects(draw, range(len(sampler.subjects)), workers=1, title="patch sampling")


def sampled(
    sampler: CropSampler, index: int, draws: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Count the crops that hold each voxel of a subject.

    Parameters
    ----------
    sampler
        Draws the crops.
    index
        Place of the subject among those of the sampler.
    draws
        Number of crops.
    random
        Source of every draw.

    Returns
    -------
    numpy.ndarray
        (x, y, z) on the training grid.
    """
    shape = np.array(sampler.shape(index))
    # Each box adds 1 at its first corner and takes it away behind its sides; sums fill it.
    steps = np.zeros(shape + 1, dtype=np.int64)
    for _ in range(draws):
        start = sampler.start(random, index)
        low, high = np.clip(start, 0, shape), np.clip(start + sampler.size, 0, shape)
        for corner in np.ndindex(2, 2, 2):
            steps[tuple(np.where(corner, high, low))] += (-1) ** sum(corner)
    return steps.cumsum(0).cumsum(1).cumsum(2)[:-1, :-1, :-1]


def _draw_picture(
    case: Case, shares: NDArray[np.float64], path: Path, config: FiguresConfig
) -> None:
    """Draw three planes through the middle of the voxels that are seen most."""
    most = np.argwhere(shares == shares.max())
    # The median may lie beside them where they are two islands.
    centre = most[np.abs(most - np.median(most, axis=0)).sum(axis=1).argmin()]
    figure = style.new_figure(config, columns=2, height_mm=HEIGHT_MM)
    extents = np.array(case.image.shape) * case.spacing_mm
    widths = [extents[0], extents[0], extents[1]]
    panels = figure.subplots(1, 3, gridspec_kw={"width_ratios": widths})
    limits = Normalize(0, float(shares.max()))
    for axes, plane in zip(panels, ("axial", "coronal", "sagittal"), strict=True):
        _draw_plane(axes, case, shares, limits, plane=plane, place=int(centre[AXES[plane]]))
    colours = figure.colorbar(ScalarMappable(limits, COLOURS), ax=panels, shrink=0.8, pad=0.01)
    colours.set_label("Share of the crops that hold a voxel")
    colours.outline.set_visible(False)
    figure.savefig(path, dpi=config.dpi, metadata={"Software": None})


def _draw_plane(
    axes: Axes,
    case: Case,
    shares: NDArray[np.float64],
    limits: Normalize,
    *,
    plane: str,
    place: int,
) -> None:
    """Draw one slice in grey, the shares over it, and the outlines of the structures."""
    axis = AXES[plane]
    across, up = (other for other in range(3) if other != axis)
    arrays: list[NDArray] = [case.image, shares, case.reference]
    grey, share, labels = (np.moveaxis(array, axis, 0)[place].T for array in arrays)
    step_across, step_up = case.spacing_mm[across], case.spacing_mm[up]
    wide, high = labels.shape[1] * step_across, labels.shape[0] * step_up
    black, white = np.nanpercentile(case.image, (0.5, 99.5))
    look: dict[str, Any] = {"origin": "lower", "extent": (0, wide, 0, high)}
    axes.imshow(grey, cmap="gray", vmin=black, vmax=white, **look)
    # Where training never looks the image is bare.
    axes.imshow(share, cmap=COLOURS, norm=limits, alpha=0.75 * share / shares.max(), **look)
    # A frame of background closes the outlines at the border of the image.
    framed = np.pad(labels, 1)
    columns = step_across * (np.arange(framed.shape[1]) - 0.5)
    rows = step_up * (np.arange(framed.shape[0]) - 0.5)
    for value in np.unique(labels[labels > 0]):
        colour = contour_colours(int(value) - 1)[1]
        axes.contour(columns, rows, framed == value, [0.5], colors=[colour], linewidths=0.7)
    # Seen from the feet, or with the face to the left, x and y run from right to left.
    axes.set(xlim=(wide, 0), ylim=(0, high), xticks=[], yticks=[], title=plane.capitalize())
    axes.spines[:].set_visible(False)
