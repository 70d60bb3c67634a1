"""All comparisons at a glance: direction, size and significance of each pair, by structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.frames import read_frame
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.results import is_distance

_EFFECTS = LinearSegmentedColormap.from_list("effects", ["#D55E00", "#FFFFFF", "#0072B2"])
_SIGNS = {"a_better": "▲", "b_better": "▼", "non_inferior": "≥"}
_MEANINGS = "▲ first better, ▼ second better, ≥ first not inferior, – not compared"
_COLUMNS = [
    *("family_id", "split", "metric", "structure", "run_a", "run_b", "n", "p_adjusted"),
    *("effect_name", "effect", "verdict", "reason"),
]
_MOST_NAMED_PAIRS = 4
_TALLEST_ROW_MM, _LOWEST_ROW_MM = 5.0, 2.25
_WIDEST_CELL_MM = 26.0


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw a matrix for each planned metric: structures as rows, pairs of runs as columns.

    Colours are effects, oriented so that blue is good for the first run of the pair. Without a
    second run, folds and ensemble are compared with each other, on test.

    Parameters
    ----------
    inputs
        `comparisons`.

    Raises
    ------
    EmptyFigure
        If nothing was compared.
    """
    table = _tabulate(inputs, context)
    metrics = list(dict.fromkeys(table["metric"]))
    structures = [name for name in context.structures if (table["structure"] == name).any()]
    pairs = list(dict.fromkeys(zip(table["run_a"], table["run_b"], strict=True)))
    config = context.config
    size = style.small(config)
    headings, key = _headings(pairs, context.run)
    label_mm = min(max(style.text_width_mm(name, size) for name in structures) + 2, 40.0)
    room_mm = config.width_mm - label_mm - 6
    beside = len(pairs) * len(metrics) * 8.0 <= room_mm or len(pairs) == 1
    most = int(115 / _LOWEST_ROW_MM / len(structures)) if not beside else len(metrics)
    left_out, metrics = metrics[max(1, most) :], metrics[: max(1, most)]
    across = len(metrics) if beside else 1
    cell_mm = min(_WIDEST_CELL_MM, room_mm / across / len(pairs))
    narrow = label_mm + across * len(pairs) * cell_mm + 8 <= config.column_mm
    columns: Literal[1, 2] = 1 if narrow else 2
    headings, heading_mm, rotation = _fit(headings, cell_mm, config)
    title = _title(key, left_out, style.figure_width_mm(config, columns), config)
    legend_mm = style.legend_height_mm([], config.width_mm, config, title=title) + 9
    down = len(metrics) // across
    fixed = legend_mm + heading_mm + down * 2 * style.line_height_mm(config.font_size_pt)
    row_mm = min(_TALLEST_ROW_MM, (style.MAX_HEIGHT_MM - fixed) / down / len(structures))
    figure = style.new_figure(
        config, columns=columns, height_mm=fixed + down * row_mm * len(structures)
    )
    panels = figure.subplots(down, across, squeeze=False, sharey=True, sharex=True).ravel().tolist()
    for number, (axes, metric) in enumerate(zip(panels, metrics, strict=True)):
        mine = table[table["metric"] == metric]
        _draw_matrix(axes, mine, structures, pairs, (cell_mm, row_mm), config)
        axes.set_title(style.axis_label(metric).partition(" ")[0], loc="left")
        axes.tick_params(length=0, labelbottom=number >= len(metrics) - across)
    _label_axes(panels[0], structures, label_mm, row_mm, headings, rotation, config)
    _colour_bar(figure, panels, table["effect_name"], config)
    style.legend(figure, [], config, title=title)
    return figure, table[table["metric"].isin(metrics)].reset_index(drop=True)


def _label_axes(
    axes: Axes,
    structures: Sequence[str],
    label_mm: float,
    row_mm: float,
    headings: Sequence[str],
    rotation: float,
    config: FiguresConfig,
) -> None:
    """Name rows and columns of the axes, and with them of all that share theirs."""
    size = style.small(config)
    size = size if row_mm >= style.line_height_mm(size) else style.tiny(config)
    lines = max(1, int(row_mm / style.line_height_mm(size)))
    names = [style.wrap(name, label_mm - 1, size, max_lines=lines) for name in structures]
    places = np.arange(max(len(structures), len(headings))) + 0.5
    axes.set_yticks(places[: len(names)], [style.literal(name) for name in names], fontsize=size)
    texts = [style.literal(text) for text in headings]
    axes.set_xticks(places[: len(texts)], texts, rotation=rotation)


def _tabulate(inputs: Mapping[str, Any], context: Context) -> pd.DataFrame:
    """Return the comparisons of runs, or of folds and ensemble, in the planned metrics."""
    found = read_frame(inputs["comparisons"])
    found = found[(found["group_a"] == "") & (found["group_b"] == "")]
    found = found[found["structure"].isin(context.structures)]
    runs = found["run_a"].isin(context.runs) & found["run_b"].isin(context.runs)
    if runs.any():
        found = found[runs]
        is_known = (found["split"] == context.split).any()
        found = found[found["split"] == (context.split if is_known else "val")]
    else:
        member = f"{context.run} "
        found = found[found["run_a"].str.startswith(member) & found["run_b"].str.startswith(member)]
    planned = found.loc[found["role"] == "confirmatory", "metric"].unique().tolist()
    known = found["metric"].unique().tolist()
    metrics = planned or [name for name in ("dice", "nsd") if name in known] or known[:1]
    found = found[found["metric"].isin(metrics)]
    if found.empty or (found["verdict"] == "not_computed").all():
        raise EmptyFigure(f"{context.run} is compared with no other run, and not among its folds.")
    order = {name: place for place, name in enumerate(metrics)}
    return found.sort_values("metric", key=lambda names: names.map(order), kind="stable")[_COLUMNS]


def _headings(pairs: Sequence[tuple[str, str]], run: str) -> tuple[list[str], list[str]]:
    """Return a heading for each pair, and the key to its abbreviations."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    if all(name.startswith(f"{run} ") for name in names):
        short = {name: name.removeprefix(f"{run} ").removeprefix("fold ") for name in names}
        short = {name: "E" if text == "ensemble" else text for name, text in short.items()}
        return [f"{short[a]}–{short[b]}" for a, b in pairs], ["numbers are folds, E the ensemble"]
    if len(pairs) <= _MOST_NAMED_PAIRS:
        return [f"{a}\nvs {b}" for a, b in pairs], []
    short = dict(zip(names, ascii_uppercase, strict=False))
    short |= {name: str(place) for place, name in enumerate(names[len(short) :], start=1)}
    key = [f"{text} {name}" for name, text in short.items()]
    return [f"{short[a]}–{short[b]}" for a, b in pairs], key


def _fit(
    headings: Sequence[str], cell_mm: float, config: FiguresConfig
) -> tuple[list[str], float, float]:
    """Return headings that fit into their cells, their height, and their rotation in degrees."""
    size = style.small(config)
    one_line = [text for text in headings if "\n" not in text]
    widest = max((style.text_width_mm(text, size) for text in one_line), default=0.0)
    if widest + 1 > cell_mm:
        return list(headings), widest + 2, 90
    wrapped = [
        "\n".join(style.wrap(line, cell_mm - 1, size, max_lines=3) for line in text.split("\n"))
        for text in headings
    ]
    lines = max(text.count("\n") + 1 for text in wrapped)
    return wrapped, lines * style.line_height_mm(size) + 1, 0


def _title(key: Sequence[str], left_out: Sequence[str], width: float, config: FiguresConfig) -> str:
    """Return the meaning of signs and abbreviations."""
    texts = [f"{_MEANINGS}; p is adjusted."]
    if left_out:
        names = ", ".join(style.axis_label(metric).partition(" ")[0] for metric in left_out)
        texts.append(f"Not drawn: {names}.")
    size = config.font_size_pt
    lines = [style.wrap(text, width - 6, size, max_lines=6) for text in texts]
    return "\n".join([*lines, *_filled(key, width - 6, size)])


def _filled(entries: Sequence[str], width_mm: float, size_pt: float) -> list[str]:
    """Return lines of entries; none is broken."""
    lines: list[str] = []
    for entry in entries:
        short = style.shorten(entry, width_mm, size_pt)
        if lines and style.text_width_mm(f"{lines[-1]}, {short}", size_pt) <= width_mm:
            lines[-1] += f", {short}"
        else:
            lines.append(short)
    return lines


def _draw_matrix(
    axes: Axes,
    table: pd.DataFrame,
    structures: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    cell_mm: tuple[float, float],
    config: FiguresConfig,
) -> None:
    """Draw effects as colours, and what fits of verdict, p and effect as text."""
    size = style.tiny(config)
    effects = np.full((len(structures), len(pairs)), np.nan)
    for row in table.to_dict("records"):
        i, k = structures.index(row["structure"]), pairs.index((row["run_a"], row["run_b"]))
        sign = -1 if is_distance(row["metric"]) else 1
        effect = sign * float(row["effect"]) if row["effect"] != "" else np.nan
        effects[i, k] = effect
        colour = "white" if abs(effect) > 0.75 else "black"
        text = _text(row, effect, cell_mm[0], size)
        axes.text(k + 0.5, i + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
    axes.pcolormesh(effects, cmap=_EFFECTS, vmin=-1, vmax=1, edgecolors="#BFBFBF", linewidth=0.5)
    axes.set_ylim(len(structures), 0)
    axes.spines[:].set_visible(False)


def _text(row: Mapping[Any, Any], effect: float, width_mm: float, size_pt: float) -> str:
    """Return the longest text that fits: verdict, p and effect, verdict and p, or the verdict."""
    if row["verdict"] in ("refused", "not_computed"):
        return "–"
    sign = _SIGNS.get(row["verdict"], "")
    p = style.p_text(row["p_adjusted"])
    number = f" ({effect:+.2f})".replace("-", "−") if np.isfinite(effect) else ""
    for text in (f"{sign} {p}{number}", f"{sign} {p}", f"{sign} {p.removeprefix('p = ')}"):
        if style.text_width_mm(text.strip(), size_pt) + 1 <= width_mm:
            return text.strip()
    return sign


def _colour_bar(
    figure: Figure, panels: Sequence[Axes], names: pd.Series, config: FiguresConfig
) -> None:
    known = [name for name in dict.fromkeys(names) if name]
    label = " or ".join(name.replace("_", "-").replace("cliffs", "Cliff's") for name in known)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), _EFFECTS),
        ax=list(panels),
        location="bottom",
        shrink=0.5,
        aspect=40,
        ticks=[-1, -0.5, 0, 0.5, 1],
    )
    bar.outline.set_linewidth(0.5)
    label = f"Effect ({label}); blue: the first is better" if label else "Effect"
    bar.set_label(label, fontsize=style.small(config))
    bar.ax.set_xticklabels(["−1", "−0.5", "0", "0.5", "1"], fontsize=style.tiny(config))
