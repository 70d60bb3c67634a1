"""Agreement of volumes, after Bland and Altman (Statistical Methods in Medical Research 1999)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.results import result_rows
from crossfold.paper.figures.scales import Scale

_LINES = ("bias", "loa_low", "loa_high")
_ESTIMATES = [
    *("n", "scale", "slope", "slope_p"),
    *(f"{name}{end}" for name in _LINES for end in ("_ml", "_ci_low", "_ci_high")),
]
_COLUMNS = ["kind", "structure", "subject", "state", "mean_ml", "difference", *_ESTIMATES]
_LABELS_MM = 8.0
_BIAS, _LIMITS = "#000000", "#666666"


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw a panel for each structure: bias, limits of agreement and their intervals as bands.

    Missed structures count, with a volume of 0. Where differences grow with the volume, ratios
    are drawn against the geometric mean, both on logarithmic axes.

    Parameters
    ----------
    inputs
        `metrics` (or `compared`) and `bland_altman`.

    Raises
    ------
    EmptyFigure
        If no volume is known.
    """
    table = _tabulate(inputs, context)
    structures = list(dict.fromkeys(table["structure"]))
    config = context.config
    wide, high = _grid(len(structures))
    columns: Literal[1, 2] = 1 if wide == 1 else 2
    handles = _handles(table, context)
    title = "Mean of prediction and reference (ml)"
    legend_mm = style.legend_height_mm(
        [str(handle.get_label()) for handle in handles],
        style.figure_width_mm(config, columns),
        config,
        title=title,
    )
    room = (style.MAX_HEIGHT_MM - legend_mm) / high
    width_mm = style.figure_width_mm(config, columns) / wide - 12
    around_mm = 4 * style.line_height_mm(_heading_size(width_mm, config)) + 4
    panel_mm = (width_mm, min(62.0, room) - around_mm)
    figure = style.new_figure(
        config, columns=columns, height_mm=legend_mm + high * (panel_mm[1] + around_mm)
    )
    panels = figure.subplots(high, wide, squeeze=False).ravel()
    for axes, structure in zip(panels, structures, strict=False):
        _draw_structure(axes, table[table["structure"] == structure], panel_mm, context)
    for axes in panels[len(structures) :]:
        axes.set_visible(False)
    style.legend(figure, handles, config, title=title)
    return figure, table


def _tabulate(inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    """Return a row for each subject, and one for each structure's estimates."""
    rows = result_rows(inputs, context)
    rows = rows[(rows["run"] == context.run) & (rows["state"] != "hallucinated")]
    rows = rows[rows["volume_ref_ml"].notna() & rows["volume_pred_ml"].notna()]
    if rows.empty:
        raise EmptyFigure(f"No volume was measured in the subjects of {context.run}.")
    estimates = read_frame(inputs["bland_altman"])
    mine = (estimates["model"] == context.run) & (estimates["split"] == rows["split"].iloc[0])
    estimates = estimates[mine].set_index("structure")
    parts = []
    for structure, points in rows.astype({"structure": str}).groupby("structure", sort=False):
        estimate = estimates.loc[[structure]] if structure in estimates.index else None
        is_log = estimate is not None and estimate["scale"].iloc[0] == "log"
        predicted, reference = points["volume_pred_ml"], points["volume_ref_ml"]
        parts.append(
            points.assign(
                kind="point",
                mean_ml=_geometric(predicted, reference) if is_log else (predicted + reference) / 2,
                difference=predicted / reference if is_log else predicted - reference,
                scale="log" if is_log else "raw",
            )
        )
        if estimate is not None:
            parts.append(estimate.reset_index().assign(kind="estimate"))
    return pd.concat(parts, ignore_index=True).reindex(columns=_COLUMNS)


def _geometric(predicted: pd.Series, reference: pd.Series) -> pd.Series:
    """Return the geometric mean; of a missed structure, the volume of the reference."""
    return ((predicted * reference) ** 0.5).mask(predicted <= 0, reference)


def _grid(count: int) -> tuple[int, int]:
    """Return how many panels stand side by side, and how many rows of them there are."""
    wide = next(
        wide for most, wide in ((1, 1), (2, 2), (6, 3), (12, 4), (10**6, 5)) if count <= most
    )
    return wide, -(-count // wide)


def _draw_structure(
    axes: Axes, table: pd.DataFrame, panel_mm: tuple[float, float], context: Context
) -> None:
    config = context.config
    points = table[table["kind"] == "point"]
    is_log = points["scale"].iloc[0] == "log"
    estimates = table[table["kind"] == "estimate"].to_dict("records")
    estimate = {str(name): value for name, value in estimates[0].items()} if estimates else {}
    known = bool(estimate) and bool(np.isfinite(estimate["bias_ml"]))
    _set_axes(axes, table, is_log, panel_mm, config)
    axes.axhline(1 if is_log else 0, color="black", linewidth=0.5)
    if known:
        for name, colour in zip(_LINES, (_BIAS, _LIMITS, _LIMITS), strict=True):
            axes.axhspan(
                estimate[f"{name}_ci_low"],
                estimate[f"{name}_ci_high"],
                color=colour,
                alpha=0.13,
                linewidth=0,
            )
            line = "-" if name == "bias" else "--"
            axes.axhline(estimate[f"{name}_ml"], color=colour, linestyle=line, linewidth=0.8)
    colour = style.colour_of(context.run, context)
    missed = points["state"] == "missed"
    size = 2.4 if len(points) < 100 else 1.7
    for shown, marker, edge in (
        (~missed, style.marker_of(context.run, context), 0),
        (missed, "x", 0.7),
    ):
        axes.plot(
            points["mean_ml"][shown],
            points["difference"][shown].clip(*axes.get_ylim()),
            marker,
            color=colour,
            markersize=size,
            markeredgewidth=edge,
            alpha=0.75,
        )
    axes.set_ylabel("Ratio" if is_log else "Difference (ml)", fontsize=style.small(config))
    axes.set_title(
        _heading(points, estimate if known else {}, panel_mm[0], config),
        fontsize=_heading_size(panel_mm[0], config),
        x=0.5 - _LABELS_MM / 2 / panel_mm[0],  # in the middle of the axes and their labels
    )


def _set_axes(
    axes: Axes,
    table: pd.DataFrame,
    is_log: bool,
    panel_mm: tuple[float, float],
    config: FiguresConfig,
) -> None:
    """Set limits that hold all points, and the intervals of the limits of agreement."""
    columns = ["difference", "loa_low_ci_low", "loa_high_ci_high"]
    ends = np.append(table[columns].to_numpy(dtype=float).ravel(), 1 if is_log else 0)
    ranges: dict[Literal["x", "y"], NDArray] = {"x": table["mean_ml"].to_numpy(), "y": ends}
    for (axis, values), length in zip(ranges.items(), panel_mm, strict=True):
        values = values[np.isfinite(values) & ((values > 0) | (not is_log))]
        low, high = float(values.min()), float(values.max())
        if is_log:
            room = max((high / low) ** 0.06, 1.02)
            limits = low / room, high * room
            scale = Scale("", "log", *limits, limits, None)
            scale.apply(axes, axis, length_mm=length, config=config)
            continue
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        which = axes.xaxis if axis == "x" else axes.yaxis
        (axes.set_xlim if axis == "x" else axes.set_ylim)(low - room, high + room)
        which.set_major_locator(MaxNLocator(max(2, min(5, int(length / 9)))))
        which.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "−"))


def _heading(
    points: pd.DataFrame, estimate: Mapping[str, Any], width_mm: float, config: FiguresConfig
) -> str:
    """Return name and n, bias, and the slope of the differences on the volumes."""
    size = _heading_size(width_mm, config)
    wide = width_mm + _LABELS_MM
    name = style.shorten(str(points["structure"].iloc[0]), wide, size)
    if not estimate:
        return style.literal(f"{name}\nn = {len(points)}")
    is_log = estimate["scale"] == "log"
    bias = f"{'ratio' if is_log else 'bias'} {estimate['bias_ml']:.3g}{'' if is_log else ' ml'}"
    lines = [f"n = {int(estimate['n'])}, {bias}"]
    if np.isfinite(estimate["slope"]):
        test = style.p_text(estimate["slope_p"])
        lines.append(f"slope {estimate['slope']:.2g}" + (f" ({test})" if test else ""))
    if style.text_width_mm(", ".join(lines), size) <= wide:
        lines = [", ".join(lines)]
    return style.literal(name) + "\n" + "\n".join(lines).replace("-", "−")


def _heading_size(width_mm: float, config: FiguresConfig) -> float:
    return style.tiny(config) if width_mm < 40 else style.small(config)


def _handles(table: pd.DataFrame, context: Context) -> list[Line2D | Patch]:
    colour = style.colour_of(context.run, context)
    handles: list[Line2D | Patch] = [
        style.dot("subject", colour, style.marker_of(context.run, context))
    ]
    if (table["state"] == "missed").any():
        handles.append(style.dot("missed", colour, "x"))
    if table["bias_ml"].notna().any():
        handles.append(Line2D([], [], color=_BIAS, label="bias"))
        handles.append(Line2D([], [], color=_LIMITS, linestyle="--", label="limits of agreement"))
        handles.append(Patch(color=_LIMITS, alpha=0.2, linewidth=0, label="intervals of these"))
    return handles
