"""How figures look: sizes, fonts, colours and markers, the same in all of them.

Figures are drawn at the size at which they are printed, so that 7 pt is 7 pt on paper. Text is
measured with the font itself before it is placed: names of structures and runs may be long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.typing import RcKeyType

from crossfold.config.figures import OKABE_ITO, FiguresConfig

if TYPE_CHECKING:
    from crossfold.paper.figures import Context

MM_PER_INCH = 25.4
MAX_HEIGHT_MM = 170.0
FONT = "DejaVu Sans"
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#666666"
BAND_GREY = "#EBEBEB"

_METRIC_LABELS = {
    "dice": "Dice",
    "iou": "IoU",
    "nsd": "NSD",
    "hd_mm": "HD (mm)",
    "hd95_mm": "HD95 (mm)",
    "assd_mm": "ASSD (mm)",
    "volume_diff_ml": "Volume difference (ml)",
    "volume_diff_pct": "Volume difference (%)",
    "volume_ref_ml": "Reference volume (ml)",
    "volume_pred_ml": "Predicted volume (ml)",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "ace": "Adaptive calibration error",
    "uncertainty": "Uncertainty",
    "loss": "Loss",
    "tolerance_mm": "Tolerance (mm)",
}


def parameters(config: FiguresConfig) -> dict[RcKeyType, Any]:
    """Return the rcParams of all figures: embedded TrueType fonts, no frame, no random names."""
    size = config.font_size_pt
    return {
        "font.family": FONT,
        "font.size": size,
        "axes.labelsize": size,
        "axes.titlesize": size,
        "xtick.labelsize": small(config),
        "ytick.labelsize": small(config),
        "legend.fontsize": small(config),
        "legend.frameon": False,
        "legend.handlelength": 1.4,
        "legend.columnspacing": 1.2,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "crossfold",
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.5,
        "ytick.minor.width": 0.5,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "xtick.major.pad": 2,
        "ytick.major.pad": 2,
        "axes.labelpad": 2.5,
        "axes.titlepad": 3,
        "lines.linewidth": 0.9,
        "lines.markersize": 3.5,
        "lines.markeredgewidth": 0.6,
        "patch.linewidth": 0.6,
        "hatch.linewidth": 0.5,
        "grid.linewidth": 0.5,
        "grid.color": "#D9D9D9",
        "figure.constrained_layout.h_pad": 0.03,
        "figure.constrained_layout.w_pad": 0.03,
        "savefig.facecolor": "white",
        "image.interpolation": "nearest",
    }


def small(config: FiguresConfig) -> float:
    """Return the size of tick labels and legends, in points: one less, but at least 5."""
    return max(5.0, config.font_size_pt - 1)


def tiny(config: FiguresConfig) -> float:
    """Return the size of counts and notes beside the data, in points; print needs 5."""
    return max(5.0, config.font_size_pt - 2)


def figure_width_mm(config: FiguresConfig, columns: Literal[1, 2]) -> float:
    """Return the width of a figure over one column or the whole page, in mm."""
    return config.column_mm if columns == 1 else config.width_mm


def new_figure(config: FiguresConfig, *, columns: Literal[1, 2], height_mm: float) -> Figure:
    """Return an empty figure of the size at which it is printed, at most 170 mm high."""
    size_mm = (figure_width_mm(config, columns), min(height_mm, MAX_HEIGHT_MM))
    width, height = (side / MM_PER_INCH for side in size_mm)
    return Figure(figsize=(width, height), layout="constrained")


def sentence(text: str, config: FiguresConfig) -> Figure:
    """Return a small figure that holds one sentence: why there is nothing to draw."""
    width_mm = figure_width_mm(config, 1)
    size = config.font_size_pt
    lines = wrap(text, width_mm - 10, size, max_lines=20).split("\n")
    figure = Figure(figsize=(width_mm / MM_PER_INCH, (10 + 1.5 * size * len(lines) * 0.36) / 25.4))
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=size, color=GREY)
    return figure


def axis_label(metric: str) -> str:
    """Return the name of a metric with its unit in parentheses."""
    return _METRIC_LABELS.get(metric, metric)


def letter(axes: Axes, text: str) -> None:
    """Write a bold panel letter at the upper left corner, outside of the axes."""
    axes.set_title(text, loc="left", fontweight="bold", fontsize=mpl.rcParams["font.size"] + 1)


def marker_of(run: str, context: Context) -> str:
    """Return the marker of a run, which says the same as its colour."""
    place = context.runs.index(run) if run in context.runs else 0
    return MARKERS[place % len(MARKERS)]


def colour_of(run: str, context: Context) -> str:
    """Return the colour of a run; the next of Okabe and Ito's where it has none."""
    place = context.runs.index(run) if run in context.runs else 0
    return context.colours.get(run, OKABE_ITO[place % len(OKABE_ITO)])


def structure_style(structure: str, structures: Sequence[str]) -> tuple[str, str]:
    """Return colour and marker of a structure, a different pair for each of 56 structures."""
    place = structures.index(structure) if structure in structures else 0
    cycle, colour = divmod(place, len(OKABE_ITO))
    return OKABE_ITO[colour], MARKERS[(colour + cycle) % len(MARKERS)]


def p_text(p: float) -> str:
    """Return a p-value as it is printed: "p = 0.012", "p < 0.001"; empty where there is none."""
    if not np.isfinite(p):
        return ""
    if p < 0.001:
        return "p < 0.001"
    if p > 0.99:
        return "p > 0.99"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def failure_band(
    axes: Axes,
    low: float,
    high: float,
    *,
    axis: Literal["x", "y"],
    label: str = "failed",
    size_pt: float = 5.0,
) -> None:
    """Shade the band in which failures are drawn as crosses, and name it outside of the axes.

    Parameters
    ----------
    low, high
        Limits of the band, in data coordinates: below the values for overlaps, above them for
        distances, where a failure is infinitely far.
    axis
        The axis of the metric.
    """
    transform = axes.get_xaxis_transform() if axis == "x" else axes.get_yaxis_transform()
    centre = np.sqrt(low * high) if _is_log(axes, axis) else (low + high) / 2
    span = axes.axvspan if axis == "x" else axes.axhspan
    span(low, high, color=BAND_GREY, linewidth=0, zorder=0)
    place = (centre, 1.0) if axis == "x" else (1.0, centre)
    axes.annotate(
        label,
        place,
        xycoords=transform,
        xytext=(0, 1.5) if axis == "x" else (1.5, 0),
        textcoords="offset points",
        ha="center" if axis == "x" else "left",
        va="bottom" if axis == "x" else "center",
        fontsize=size_pt,
        color=GREY,
        annotation_clip=False,
    )


def _is_log(axes: Axes, axis: str) -> bool:
    return (axes.get_xscale() if axis == "x" else axes.get_yscale()) == "log"


def text_width_mm(text: str, size_pt: float, *, bold: bool = False) -> float:
    """Return how wide the longest line of a text is when printed, in mm, without kerning."""
    lines = [sum(_advance_em(character, bold) for character in line) for line in text.split("\n")]
    return max(lines) * size_pt * MM_PER_INCH / 72


@cache
def _advance_em(character: str, bold: bool) -> float:
    font = get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
    font.set_size(100, 72)
    if not font.get_char_index(ord(character)):
        return 0.6  # a box stands for what the font does not have
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


def line_height_mm(size_pt: float) -> float:
    """Return the distance between two lines of text, in mm."""
    return 1.2 * size_pt * MM_PER_INCH / 72


def shorten(text: str, width_mm: float, size_pt: float) -> str:
    """Replace the middle of a line by an ellipsis where it is wider than `width_mm`."""
    if text_width_mm(text, size_pt) <= width_mm:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
        if text_width_mm(short, size_pt) <= width_mm:
            return short
    return text[:1] + "…"


def wrap(text: str, width_mm: float, size_pt: float, *, max_lines: int) -> str:
    """Break a name at spaces, underscores and hyphens; shorten what still does not fit."""
    lines = [""]
    for part in re.findall(r"[^\s_\-]*[\s_\-]*", text):
        if lines[-1] and text_width_mm((lines[-1] + part).rstrip(), size_pt) > width_mm:
            lines.append("")
        lines[-1] += part
    if len(lines) > max_lines:
        lines[max_lines - 1 :] = ["".join(lines[max_lines - 1 :])]
    return "\n".join(shorten(line.rstrip(), width_mm, size_pt) for line in lines)


def literal(text: str) -> str:
    """Return text in which a dollar sign is a dollar sign, and no formula begins."""
    return text.replace("$", r"\$")


def dot(label: str, colour: str, marker: str) -> Line2D:
    """Return an entry of a legend for points."""
    return Line2D([], [], color=colour, marker=marker, linestyle="", label=label)


def legend(
    figure: Figure, handles: Sequence[Artist], config: FiguresConfig, *, title: str = ""
) -> Legend | None:
    """Put a legend below all panels, in as many columns as fit side by side.

    Parameters
    ----------
    title
        Text above the entries: the label of an axis that all panels share. (A `supxlabel` would
        be drawn over the legend.)
    """
    if not handles and not title:
        return None
    size = small(config)
    width_mm = figure.get_figwidth() * MM_PER_INCH - 4
    for handle in handles:
        handle.set_label(
            literal(shorten(str(handle.get_label()), width_mm - _line_of_entry_mm(size), size))
        )
    labels = [str(handle.get_label()) for handle in handles]
    drawn = figure.legend(
        handles=list(handles),
        ncols=_legend_columns(labels, width_mm, size),
        loc="outside lower center",
        title=literal(title) or None,
        title_fontsize=config.font_size_pt,
        alignment="center",
    )
    drawn.get_title().set_multialignment("center")
    return drawn


def legend_height_mm(
    labels: Sequence[str], width_mm: float, config: FiguresConfig, *, title: str = ""
) -> float:
    """Return how high `legend` will be, to leave that much room in the figure."""
    size = small(config)
    lines = title.count("\n") + 1 if title else 0
    height = lines * line_height_mm(config.font_size_pt) + 2 * bool(labels or title)
    rows = -(-len(labels) // _legend_columns(labels, width_mm - 4, size))
    return height + rows * 1.25 * line_height_mm(size)


def _legend_columns(labels: Sequence[str], width_mm: float, size_pt: float) -> int:
    """Return in how many columns the entries fit side by side, filled from the top."""
    widths = [text_width_mm(label, size_pt) + _line_of_entry_mm(size_pt) for label in labels]
    for columns in range(len(labels), 1, -1):
        if sum(max(part) for part in np.array_split(widths, columns)) <= width_mm:
            return columns
    return 1


def _line_of_entry_mm(size_pt: float) -> float:
    """Return the width of the line of a legend's entry, and of the gaps beside it."""
    return 3.4 * size_pt * MM_PER_INCH / 72


def jitter(count: int, width: float, *, seed: int = 0) -> np.ndarray:
    """Return seeded offsets in (-width, width), the same on every run."""
    return np.random.default_rng(seed).uniform(-width, width, count)
