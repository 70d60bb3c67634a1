"""What a reader would stumble on in a figure: text that overlaps or is cut off, empty panels."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

MAX_HEIGHT_MM = 170.0
MM_PER_INCH = 25.4
# Of the height of a line: descenders and the gap between lines, which may touch.
SLACK = 0.15


def problems(figure: Figure, *, allow_empty: bool = False) -> list[str]:
    """Return a sentence for each flaw: an empty list for a figure that can be read."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [text for text in drawn_texts(figure) if text.get_text().strip()]
    boxes = np.array([text.get_window_extent(renderer).extents for text in texts]).reshape(-1, 4)
    found = [f"not finite: {texts[i].get_text()!r}" for i in _not_finite(boxes)]
    found += [f"leaves the canvas: {texts[i].get_text()!r}" for i in _outside(boxes, figure)]
    found += [
        f"overlap: {texts[i].get_text()!r} and {texts[k].get_text()!r}"
        for i, k in _overlaps(boxes, texts)
    ]
    if not allow_empty:
        found += [f"empty panel {i}" for i, axes in enumerate(figure.axes) if _is_empty(axes)]
    height_mm = figure.get_figheight() * MM_PER_INCH
    if height_mm > MAX_HEIGHT_MM + 0.1:
        found.append(f"{height_mm:.0f} mm high")
    return found


def drawn_texts(figure: Figure) -> list[Text]:
    """Return all texts that are drawn: of ticks, only those within the limits of their axis."""
    ticks, drawn = set(), []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                ticks.update((id(tick.label1), id(tick.label2)))
            if axes.get_visible() and axes.axison and axis.get_visible():
                for tick in axis._update_ticks():
                    drawn += [tick.label1, tick.label2]
            else:
                ticks.update((id(axis.label), id(axis.offsetText)))
    hidden = {
        id(text) for axes in figure.axes if not axes.get_visible() for text in axes.findobj(Text)
    }
    others = [text for text in figure.findobj(Text) if id(text) not in ticks | hidden]
    return [text for text in [*drawn, *others] if text.get_visible()]


def _not_finite(boxes: np.ndarray) -> Iterator[int]:
    yield from np.flatnonzero(~np.isfinite(boxes).all(axis=1)).tolist()


def _outside(boxes: np.ndarray, figure: Figure) -> Iterator[int]:
    width, height = figure.bbox.width, figure.bbox.height
    outside = (boxes[:, :2] < -0.5).any(axis=1)
    outside |= (boxes[:, 2] > width + 0.5) | (boxes[:, 3] > height + 0.5)
    yield from np.flatnonzero(outside).tolist()


def _overlaps(boxes: np.ndarray, texts: list[Text]) -> Iterator[tuple[int, int]]:
    sizes_px = [text.get_fontsize() * text.get_figure(root=True).dpi / 72 for text in texts]
    slack = SLACK * np.array(sizes_px).reshape(-1, 1) * [0, 1]
    low, high = boxes[:, :2] + slack, boxes[:, 2:] - slack
    for i in range(len(texts)):
        apart = (low[i] >= high[i + 1 :]) | (low[i + 1 :] >= high[i])
        for k in np.flatnonzero(~apart.any(axis=1)).tolist():
            yield i, i + 1 + k


def _is_empty(axes: Axes) -> bool:
    if not (axes.get_visible() and axes.axison):
        return False
    return not (axes.lines or axes.collections or axes.images or axes.patches or axes.texts)
