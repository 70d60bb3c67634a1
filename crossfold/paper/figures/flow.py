"""Flow of subjects: who was found, left out and why, and what the others were used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from crossfold.config.figures import FiguresConfig
from crossfold.data.dataset_report import read_report
from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.tables import read_metrics
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure

MOST_REASONS = 6
MOST_FOLDS_IN_A_ROW, MOST_FOLDS = 10, 30
FAILURES = ("missed", "hallucinated")
_GAP_MM, _PAD_MM = 6.0, 1.5
_FOLD_GAP_MM = 1.5

COLUMNS = ["box", "fold", "label", "n"]


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw the flow of subjects from the dataset to the results.

    Parameters
    ----------
    inputs
        `dataset_report`, `splits` and `metrics`.
    context
        Configuration.

    Raises
    ------
    EmptyFigure
        If no subject was found.
    """
    report = read_report(inputs["dataset_report"])
    splits = read_frame(inputs["splits"])
    metrics = read_metrics(inputs["metrics"])
    table = pd.DataFrame(
        [*_found(report, splits), *_used(splits), *_results(metrics)], columns=COLUMNS
    )
    if not table.loc[0, "n"]:
        raise EmptyFigure("No subject was found in the dataset.")
    return _draw(table, context.config), table


Line = tuple[str, str, str, int]


def _found(report: pd.DataFrame, splits: pd.DataFrame) -> list[Line]:
    """Return how many subjects there are, and why some are not used; the first error counts."""
    subjects = report[report["subject"] != ""].drop_duplicates("subject")
    excluded = subjects[subjects["status"] != "used"]
    reasons = excluded["check"].str.replace("_", " ").value_counts()
    reasons = reasons.sort_index().sort_values(ascending=False, kind="stable")
    unused = subjects[(subjects["status"] == "used") & ~subjects["subject"].isin(splits["subject"])]
    lines: list[Line] = [
        ("found", "", "Subjects found", len(subjects)),
        ("excluded", "", "Excluded by checks", len(excluded)),
    ]
    lines += [("excluded", "", str(name), int(n)) for name, n in reasons[:MOST_REASONS].items()]
    if len(reasons) > MOST_REASONS:
        lines.append(("excluded", "", "other reasons", int(reasons[MOST_REASONS:].sum())))
    if len(unused):
        lines.append(("excluded", "", "Left out by the configuration", len(unused)))
    return lines


def _used(splits: pd.DataFrame) -> list[Line]:
    """Return the subjects of each role; patients too, where some were scanned repeatedly."""
    roles = splits.drop_duplicates("subject")
    lines: list[Line] = [("used", "", "Subjects used", len(roles))]
    if roles["group"].nunique() < len(roles):
        lines.append(("used", "", "groups", int(roles["group"].nunique())))
    test = splits.loc[splits["role"] == "test", "subject"].nunique()
    folds = sorted(splits["fold"].unique(), key=lambda fold: (len(fold), fold))
    name = "Cross-validation" if len(folds) > 1 else "Training and validation"
    lines += [("development", "", name, len(roles) - test), ("test", "", "Test set", test)]
    for fold in folds:
        counts = splits.loc[splits["fold"] == fold, "role"].value_counts()
        lines += [("fold", fold, role, int(counts.get(role, 0))) for role in ("train", "val")]
    return lines


def _results(metrics: pd.DataFrame) -> list[Line]:
    """Return how many subjects have results, and in how many a structure failed."""
    test = metrics[(metrics["split"] == "test") & (metrics["fold"] == "ensemble")]
    lines: list[Line] = []
    val = metrics[metrics["split"] == "val"]
    of_val = "Predicted out of fold" if val["fold"].nunique() > 1 else "Predicted in validation"
    for box, label, rows in (
        ("val results", of_val, val),
        ("test results", "Predicted by the ensemble", test),
    ):
        if rows.empty:
            continue
        lines.append((box, "", label, rows["subject"].nunique()))
        for state in FAILURES:
            failed = rows[rows["state"] == state]
            lines.append((box, "", f"with a structure {state}", failed["subject"].nunique()))
    return lines


@dataclass(frozen=True)
class _Box:
    """A box of text; left, top and size in mm from the upper left corner."""

    left: float
    top: float
    wide: float
    lines: tuple[str, ...]
    size_pt: float

    @property
    def high(self) -> float:
        return len(self.lines) * style.line_height_mm(self.size_pt) + 2 * _PAD_MM

    @property
    def bottom(self) -> float:
        return self.top + self.high

    @property
    def middle(self) -> float:
        return self.left + self.wide / 2


def _draw(table: pd.DataFrame, config: FiguresConfig) -> Figure:
    width = config.width_mm
    boxes = _boxes(table, config)
    folds = [box for name, box in boxes.items() if name.startswith("fold ")]
    height = max(box.bottom for box in boxes.values()) + 1
    figure = style.new_figure(config, columns=2, height_mm=height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for name, box in boxes.items():
        _draw_box(axes, box, shaded=name in ("val results", "test results"))
    _arrow(axes, boxes["found"], boxes["used"])
    for target in ("development", "test"):
        if target in boxes:
            _elbow(axes, boxes["used"], boxes[target])
    if "excluded" in boxes:
        middle = boxes["excluded"].top + boxes["excluded"].high / 2
        _line(axes, [(boxes["found"].middle, middle), (boxes["excluded"].left, middle)], head=True)
    frame = _frame(folds)
    axes.add_patch(
        Rectangle(frame[:2], *frame[2:], fill=False, ec=style.GREY, lw=0.6, ls=(0, (3, 2)))
    )
    centre = boxes["development"].middle
    _line(axes, [(centre, boxes["development"].bottom), (centre, frame[1])], head=True)
    if "val results" in boxes:
        bottom = frame[1] + frame[3]
        _line(axes, [(centre, bottom), (centre, boxes["val results"].top)], head=True)
    if "test results" in boxes:
        _arrow(axes, boxes["test"], boxes["test results"])
    return figure


def _boxes(table: pd.DataFrame, config: FiguresConfig) -> dict[str, _Box]:
    """Return all boxes by name, from the top down."""
    size, width = config.font_size_pt, config.width_mm
    test_wide = 0.26 * width
    main_wide = width - test_wide - _GAP_MM
    has_test = bool(table.loc[table["box"] == "test", "n"].sum())
    main_wide = main_wide if has_test else width - 2

    def text_of(name: str, wide: float) -> tuple[str, ...]:
        rows = table[table["box"] == name]
        said = [f"{row.label}: {row.n}" for row in rows.itertuples(index=False)]
        return tuple(style.shorten(line, wide - 2 * _PAD_MM, size) for line in said)

    def box(name: str, left: float, top: float, wide: float) -> _Box:
        return _Box(left, top, wide, text_of(name, wide), size)

    middle_wide = 0.3 * width
    left = 1 + (main_wide - middle_wide) / 2
    boxes = {"found": box("found", left, 1, middle_wide)}
    excluded = table[table["box"] == "excluded"]
    below = boxes["found"].bottom + _GAP_MM
    if excluded["n"].sum():
        beside = left + middle_wide + _GAP_MM
        boxes["excluded"] = box("excluded", beside, below - _GAP_MM / 2, width - beside - 1)
        below = boxes["excluded"].bottom + _GAP_MM / 2
    boxes["used"] = box("used", left, below, middle_wide)
    below = boxes["used"].bottom + _GAP_MM
    boxes["development"] = box("development", left, below, middle_wide)
    if has_test:
        boxes["test"] = box("test", width - test_wide - 1, below, test_wide)
    below = boxes["development"].bottom + _GAP_MM
    boxes |= _fold_boxes(table, below + _FOLD_GAP_MM, main_wide, config)
    below = max(part.bottom for part in boxes.values()) + _FOLD_GAP_MM + _GAP_MM
    results = set(table["box"])
    if "val results" in results:
        boxes["val results"] = box("val results", left, below, middle_wide)
    if "test results" in results and has_test:
        boxes["test results"] = box("test results", width - test_wide - 1, below, test_wide)
    return boxes


def _fold_boxes(
    table: pd.DataFrame, top: float, room_mm: float, config: FiguresConfig
) -> dict[str, _Box]:
    rows = table[table["box"] == "fold"]
    counts = rows.pivot(index="fold", columns="label", values="n")
    names = list(dict.fromkeys(rows["fold"]))
    if len(names) > MOST_FOLDS:
        return {"fold all": _all_folds(counts, top, room_mm, config)}
    across = -(-len(names) // -(-len(names) // MOST_FOLDS_IN_A_ROW))
    size = style.small(config) if across <= 6 else style.tiny(config)
    step = min((room_mm - _FOLD_GAP_MM) / across, 0.16 * config.width_mm)
    left = 1 + (room_mm - step * across + _FOLD_GAP_MM) / 2
    boxes = {}
    for place, name in enumerate(names):
        row, column = divmod(place, across)
        train, val = counts.loc[name, ["train", "val"]]
        lines = (f"fold {name}", f"train {train}", f"val {val}")
        box = _Box(left + column * step, top, step - _FOLD_GAP_MM, lines, size)
        lower = top + row * (box.high + _FOLD_GAP_MM)
        boxes[f"fold {name}"] = _Box(box.left, lower, box.wide, lines, size)
    return boxes


def _all_folds(counts: pd.DataFrame, top: float, room_mm: float, config: FiguresConfig) -> _Box:
    """Return one box for more folds than can be shown."""
    wide = 0.3 * config.width_mm
    ranges = [f"{role} {counts[role].min()} to {counts[role].max()}" for role in ("train", "val")]
    lines = (f"{len(counts)} folds", *ranges)
    return _Box(1 + (room_mm - wide) / 2, top, wide, lines, config.font_size_pt)


def _frame(folds: Sequence[_Box]) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the frame around all folds."""
    left, top = folds[0].left - _FOLD_GAP_MM, folds[0].top - _FOLD_GAP_MM
    right = max(box.left + box.wide for box in folds) + _FOLD_GAP_MM
    return left, top, right - left, folds[-1].bottom + _FOLD_GAP_MM - top


def _draw_box(axes: Axes, box: _Box, *, shaded: bool) -> None:
    face = style.BAND_GREY if shaded else "white"
    axes.add_patch(Rectangle((box.left, box.top), box.wide, box.high, fc=face, ec="black", lw=0.6))
    for number, line in enumerate(box.lines):
        axes.text(
            box.middle,
            box.top + _PAD_MM + (number + 0.5) * style.line_height_mm(box.size_pt),
            style.literal(line),
            ha="center",
            va="center_baseline",
            fontsize=box.size_pt,
            # Reasons and roles are in small letters.
            fontweight="bold" if number == 0 or line[:1].isupper() else "normal",
        )


def _arrow(axes: Axes, upper: _Box, lower: _Box) -> None:
    _line(axes, [(upper.middle, upper.bottom), (upper.middle, lower.top)], head=True)


def _elbow(axes: Axes, upper: _Box, lower: _Box) -> None:
    bend = upper.bottom + (lower.top - upper.bottom) / 2
    points = [(upper.middle, upper.bottom), (upper.middle, bend), (lower.middle, bend)]
    _line(axes, [*points, (lower.middle, lower.top)], head=True)


def _line(axes: Axes, points: Sequence[tuple[float, float]], *, head: bool) -> None:
    axes.plot(*zip(*points, strict=True), color="black", lw=0.7, solid_joinstyle="miter")
    if head:
        axes.annotate(
            "",
            points[-1],
            xytext=points[-2],
            arrowprops={"arrowstyle": "-|>", "lw": 0.7, "shrinkA": 0, "shrinkB": 0, "fc": "black"},
        )
