"""Three planes of one subject after the other, with contours, all at the same scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style
from crossfold.paper.figures import Context
from crossfold.paper.figures.panels import DASHES, Panel, in_plane
from crossfold.paper.slices import AXES, Case, contour_colours

PLANES = ("axial", "coronal", "sagittal")
# A colour stands for one structure up to here; beyond, structures are numbered as well.
MOST_WITHOUT_NUMBERS = 7
GAP_MM = 1.0
COLUMN_GAP_MM = 4.0
TEXT_BESIDE_MM = 40.0
# Around the structures, as a part of their largest extent.
_MARGIN = 0.12
_TEXT_PADDING_MM = 2.5


@dataclass(frozen=True)
class Block:
    """A subject, and what is written at its panels: a head in bold, and paragraphs."""

    case: Case
    head: str
    paragraphs: tuple[str, ...]


def describe_panels(case: Case) -> pd.DataFrame:
    """Return one row per plane: the slice that is shown, and what it takes from the Dice."""
    rows = [
        (plane, case.slices[axis], case.dice_loss[axis][case.slices[axis]])
        for plane, axis in ((plane, AXES[plane]) for plane in PLANES)
    ]
    return pd.DataFrame(rows, columns=["plane", "slice", "dice_loss"])


def draw_blocks(
    blocks: Sequence[Block], structures: Sequence[str], split: str, context: Context
) -> Figure:
    """Draw subjects below and beside each other, in the arrangement that shows them largest.

    Parameters
    ----------
    blocks
        Subjects and the words at their panels.
    structures
        Structures in the order of their labels.
    split
        Whom the predictions are about, for the legend: val or test.
    context
        Configuration, and whether the data are synthetic.
    """
    config = context.config
    handles = _handles(structures, split)
    labels = [str(handle.get_label()) for handle in handles]
    legend_mm = style.legend_height_mm(labels, config.width_mm, config)
    arrangements = product((1, 2, 3), (False, True))
    layout = max(
        (_fit(blocks, legend_mm, config, columns, beside) for columns, beside in arrangements),
        key=lambda layout: layout.scale,
    )
    figure = style.new_figure(config, columns=2, height_mm=layout.height_mm)
    figure.set_layout_engine("none")
    for place, block in enumerate(blocks):
        left, top = layout.corner_mm(place)
        for number, plane in enumerate(layout.planes):
            wide, high = layout.panel_mm(plane)
            lower = top + (layout.panel_height_mm - high) / 2
            axes = figure.add_axes(layout.rectangle(left, lower, wide, high))
            panel = Panel(
                *(axes, block.case, plane),
                view_mm=layout.view_mm,
                scale=layout.scale,
                size_pt=style.tiny(config),
            )
            panel.draw()
            if number == 0:
                panel.scale_bar()
                if context.synthetic:
                    panel.note("synthetic data")
            if len(structures) > MOST_WITHOUT_NUMBERS:
                panel.number_structures()
            left += wide + GAP_MM
        _caption(figure, layout, place, block)
    legend = style.legend(figure, handles, config)
    if legend is not None:
        legend.set_loc("lower center")
    return figure


@dataclass(frozen=True)
class _Layout:
    """Where panels and text lie, in mm of paper from the upper left corner.

    Parameters
    ----------
    scale
        Paper per tissue.
    view_mm
        Size of the part of the body that is shown, along x, y, z.
    planes
        Planes that are shown.
    columns
        Number of subjects side by side.
    beside
        Whether text stands to the right of the panels, not below them.
    row_mm, column_mm
        From one subject to the next.
    text_width_mm, text_pt
        Width of the text, and its size.
    width_mm, height_mm
        Size of the figure.
    """

    scale: float
    view_mm: tuple[float, float, float]
    planes: tuple[str, ...]
    columns: int
    beside: bool
    row_mm: float
    column_mm: float
    text_width_mm: float
    text_pt: float
    width_mm: float
    height_mm: float

    @property
    def panel_height_mm(self) -> float:
        return max(self.panel_mm(plane)[1] for plane in self.planes)

    @property
    def panels_width_mm(self) -> float:
        return sum(self.panel_mm(plane)[0] + GAP_MM for plane in self.planes) - GAP_MM

    def panel_mm(self, plane: str) -> tuple[float, float]:
        """Width and height of a panel on paper."""
        across, up = in_plane(plane)
        return self.scale * self.view_mm[across], self.scale * self.view_mm[up]

    def corner_mm(self, place: int) -> tuple[float, float]:
        """Left and top of a subject's panels."""
        row, column = divmod(place, self.columns)
        return column * self.column_mm, row * self.row_mm

    def text_mm(self, place: int) -> tuple[float, float]:
        """Left and top of a subject's text."""
        left, top = self.corner_mm(place)
        if self.beside:
            return left + self.panels_width_mm + 2 * GAP_MM, top + GAP_MM
        return left, top + self.panel_height_mm + 0.8

    def rectangle(
        self, left: float, top: float, wide: float, high: float
    ) -> tuple[float, float, float, float]:
        """Left, bottom, width and height as fractions of the figure."""
        return (
            left / self.width_mm,
            1 - (top + high) / self.height_mm,
            wide / self.width_mm,
            high / self.height_mm,
        )


def _fit(
    blocks: Sequence[Block], legend_mm: float, config: FiguresConfig, columns: int, beside: bool
) -> _Layout:
    """Choose the largest scale at which everything fits the page in an arrangement."""
    view_mm, planes = _view([block.case for block in blocks])
    sides = [[view_mm[axis] for axis in in_plane(plane)] for plane in planes]
    across, up = sum(side[0] for side in sides), max(side[1] for side in sides)
    block_mm = (config.width_mm - COLUMN_GAP_MM * (columns - 1)) / columns
    text_pt = style.small(config)
    text_width_mm = TEXT_BESIDE_MM if beside else block_mm
    text_mm = max(
        len(_lines(block, text_width_mm, text_pt)) * style.line_height_mm(text_pt)
        for block in blocks
    )
    text_mm += 2 * GAP_MM if beside else _TEXT_PADDING_MM
    room_mm = block_mm - GAP_MM * (len(planes) - 1)
    if beside:
        room_mm -= text_width_mm + 2 * GAP_MM
    rows = -(-len(blocks) // columns)
    row_mm = (style.MAX_HEIGHT_MM - legend_mm) / rows
    scale = min(room_mm / across, (row_mm - (GAP_MM if beside else text_mm)) / up)
    row_mm = max(scale * up + GAP_MM, text_mm) if beside else scale * up + text_mm
    if beside:
        text_width_mm += room_mm - scale * across
    height_mm = rows * row_mm + legend_mm
    return _Layout(
        scale=scale if height_mm <= style.MAX_HEIGHT_MM + 1e-6 else 0.0,
        view_mm=view_mm,
        planes=planes,
        columns=columns,
        beside=beside,
        row_mm=row_mm,
        column_mm=block_mm + COLUMN_GAP_MM,
        text_width_mm=text_width_mm,
        text_pt=text_pt,
        width_mm=config.width_mm,
        height_mm=height_mm,
    )


def _view(cases: Sequence[Case]) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """Return how much of each subject is shown, and the planes that are more than a line."""
    margin_mm = _MARGIN * max(max(case.extent_mm(0)) for case in cases)
    x, y, z = np.max([case.extent_mm(margin_mm) for case in cases], axis=0).tolist()
    voxels = np.max([case.image.shape for case in cases], axis=0)
    planes = tuple(plane for plane in PLANES if min(voxels[list(in_plane(plane))]) > 1)
    return (x, y, z), planes or PLANES[:1]


def _lines(block: Block, width_mm: float, size_pt: float) -> list[tuple[str, str]]:
    """Return the lines of text of a subject, each with its weight."""
    # Bold letters are wider than those that are measured.
    head = style.wrap(block.head, 0.85 * width_mm, size_pt, max_lines=3).split("\n")
    words = [
        line
        for paragraph in block.paragraphs
        for line in style.wrap(paragraph, width_mm - 1, size_pt, max_lines=4).split("\n")
    ]
    return [(line, "bold") for line in head] + [(line, "normal") for line in words if line]


def _caption(figure: Figure, layout: _Layout, place: int, block: Block) -> None:
    left, top = layout.text_mm(place)
    for line, weight in _lines(block, layout.text_width_mm, layout.text_pt):
        x, y, _, _ = layout.rectangle(left, top, 0, 0)
        figure.text(
            *(x, y, style.literal(line)),
            ha="left",
            va="top",
            fontsize=layout.text_pt,
            fontweight=weight,
        )
        top += style.line_height_mm(layout.text_pt)


def _handles(structures: Sequence[str], split: str) -> list[Line2D]:
    """Return what the legend says: names by colour, and how the two contours differ."""
    numbered = len(structures) > MOST_WITHOUT_NUMBERS
    handles = [
        Line2D(
            [],
            [],
            color=contour_colours(place)[1],
            linewidth=1.6,
            label=f"{place + 1} {name}" if numbered else name,
        )
        for place, name in enumerate(structures)
    ]
    predicted = "ensemble (full, dashed)" if split == "test" else "out of fold (full, dashed)"
    return [
        *handles,
        Line2D([], [], color="#B0B0B0", linewidth=1.2, label="reference (pale, solid)"),
        Line2D([], [], color="#404040", linewidth=1.2, linestyle=DASHES, label=predicted),
    ]
