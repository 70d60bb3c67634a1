"""Segmentations over images: the best, the median and the worst subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from crossfold.config.figures import FiguresConfig
from crossfold.data.dataset import Dataset
from crossfold.images import Image, atomic_path, read_labels
from crossfold.paths import subject_file

# Okabe and Ito: told apart by readers with any colour vision.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
# Letters at the left, right, bottom and top: radiologists see the patient's right on their left.
EDGES = {"sagittal": "PAIS", "coronal": "RLIS", "axial": "RLPA"}
MM_PER_INCH = 25.4
SLICES = 3


def plot_montage(
    dataset: Dataset,
    segmentations: Path,
    metrics: pd.DataFrame,
    *,
    image: str,
    structures: Sequence[str],
    config: FiguresConfig,
    png: Path,
    pdf: Path,
    csv: Path,
) -> None:
    """Draw the best, the median and the worst subject, three slices each.

    Subjects are ranked by their mean Dice over the structures, ties by name. Slices are the one
    with the largest error, and those at a third and two thirds of the extent of the reference.

    Parameters
    ----------
    dataset, segmentations, metrics
        Images and contours, the ensemble's segmentations, and what was measured on them.
    image
        Channel to show.
    structures
        Structures in the order of their labels.
    config
        Section `figures`.
    png, pdf, csv
        Files to write; the table says which subjects and slices are shown.
    """
    chosen = choose_subjects(metrics[metrics["structure"].isin(structures)])
    rows = [
        _load(dataset, segmentations, subject, image, structures) for subject in chosen["subject"]
    ]
    shown = [_slices(row, PLANES[config.plane]) for row in rows]
    with mpl.rc_context(
        {"font.size": config.font_size_pt, "pdf.fonttype": 42, "font.family": "DejaVu Sans"}
    ):
        figure = _draw(rows, shown, chosen, structures, config, bool(metrics["synthetic"].iloc[0]))
        for path, options in ((png, {"Software": None}), (pdf, {"CreationDate": None})):
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi=config.dpi, metadata=options)
    table = chosen.assign(plane=config.plane, slices=[" ".join(map(str, s)) for s in shown])
    with atomic_path(csv) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")


def choose_subjects(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return best, median and worst subject by mean Dice: columns rank, subject, dice."""
    mean = metrics.groupby("subject")["dice"].mean().reset_index()
    mean = mean.sort_values(["dice", "subject"], ascending=[False, True]).reset_index(drop=True)
    places = {"best": 0, "median": (len(mean) - 1) // 2, "worst": len(mean) - 1}
    ranked = mean.loc[list(places.values())].assign(rank=list(places))
    return ranked.drop_duplicates("subject")[["rank", "subject", "dice"]].reset_index(drop=True)


def _load(
    dataset: Dataset, segmentations: Path, subject: str, image: str, structures: Sequence[str]
) -> dict[str, Image]:
    return {
        "image": dataset.image(subject, image).to_ras(),
        "reference": dataset.label_map(subject, structures).to_ras(),
        "prediction": read_labels(subject_file(segmentations, subject)).to_ras(),
    }


def _slices(row: Mapping[str, Image], axis: int) -> list[int]:
    """Choose the slice with the largest error, and two across the extent of the reference."""
    reference, prediction = row["reference"].array, row["prediction"].array
    others = tuple(other for other in range(3) if other != axis)
    present = np.flatnonzero((reference > 0).any(axis=others))
    if not present.size:
        present = np.arange(reference.shape[axis])
    worst = int((reference != prediction).sum(axis=others).argmax())
    low, high = np.quantile(present, (0.33, 0.67)).round().astype(int).tolist()
    chosen = list(dict.fromkeys([low, worst, high]))
    for candidate in (int(np.median(present)), *present.tolist()):
        if len(chosen) < SLICES and candidate not in chosen:
            chosen.append(candidate)
    return sorted(chosen)


def _draw(
    rows: Sequence[Mapping[str, Image]],
    shown: Sequence[Sequence[int]],
    chosen: pd.DataFrame,
    structures: Sequence[str],
    config: FiguresConfig,
    synthetic: bool,
) -> Figure:
    """Draw all panels and the legend."""
    axis = PLANES[config.plane]
    extents = [_extent_mm(row["image"], axis) for row in rows]
    width = config.width_mm / MM_PER_INCH
    heights = [width / SLICES * high / wide for wide, high in extents]
    legend = 0.55
    figure = Figure(figsize=(width, sum(heights) + legend), layout="constrained")
    panels = figure.subplots(len(rows), SLICES, squeeze=False, height_ratios=heights)
    for row, slices, line, axes in zip(rows, shown, chosen.itertuples(), panels, strict=True):
        for column, panel in enumerate(axes):
            panel.set_axis_off()
            if column < len(slices):
                _panel(panel, row, axis, slices[column], len(structures))
        text = f"{line.rank}: {line.subject}\nmean Dice {line.dice:.3f}"
        axes[0].text(0.03, 0.97, text, transform=axes[0].transAxes, va="top", color="white")
        _mark_edges(axes[1], EDGES[config.plane])
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], label=name)
        for i, name in enumerate(structures)
    ]
    handles += [
        Line2D([], [], color="grey", label="reference"),
        Line2D([], [], color="grey", linestyle="--", label="ensemble"),
    ]
    title = "synthetic data" if synthetic else None
    figure.legend(handles=handles, ncols=5, loc="outside lower center", frameon=False, title=title)
    return figure


def _extent_mm(image: Image, axis: int) -> tuple[float, float]:
    sides = [n * s for n, s in zip(image.array.shape, image.spacing_mm, strict=True)]
    wide, high = (side for other, side in enumerate(sides) if other != axis)
    return wide, high


def _panel(panel: Axes, row: Mapping[str, Image], axis: int, index: int, count: int) -> None:
    """Draw one slice with the contours of reference and prediction."""

    def slice_of(image: Image) -> NDArray:
        return np.take(image.array, index, axis=axis).T

    wide, high = _extent_mm(row["image"], axis)
    extent = (0.0, wide, 0.0, high)
    low, top = np.percentile(row["image"].array, (1, 99.5))
    panel.imshow(
        slice_of(row["image"]), cmap="gray", vmin=low, vmax=top, origin="lower", extent=extent
    )
    pixels = slice_of(row["image"]).shape
    x = (np.arange(pixels[1]) + 0.5) * wide / pixels[1]
    y = (np.arange(pixels[0]) + 0.5) * high / pixels[0]
    for name, style in (("reference", "solid"), ("prediction", "dashed")):
        labels = slice_of(row[name])
        for value in range(1, count + 1):
            if (labels == value).any() and min(labels.shape) > 1:
                colour = COLOURS[(value - 1) % len(COLOURS)]
                panel.contour(
                    x, y, labels == value, [0.5], colors=[colour], linewidths=0.8, linestyles=style
                )
    panel.set_aspect("equal")
    if axis != PLANES["sagittal"]:
        panel.invert_xaxis()


def _mark_edges(panel: Axes, letters: str) -> None:
    places = (
        (0.02, 0.5, "left"),
        (0.98, 0.5, "right"),
        (0.5, 0.02, "center"),
        (0.5, 0.98, "center"),
    )
    for (x, y, side), letter in zip(places, letters, strict=True):
        vertical = {0.02: "bottom", 0.98: "top"}.get(y, "center")
        panel.text(
            x, y, letter, transform=panel.transAxes, ha=side, va=vertical, color="white", fontsize=5
        )
