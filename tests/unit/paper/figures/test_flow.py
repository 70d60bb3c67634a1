from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.tables import METRICS_COLUMNS, write_metrics, write_table
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure, draw_figure
from crossfold.paper.figures.flow import draw
from tests.unit.paper.figures.layout import drawn_texts, problems

CONTEXT = Context(
    run="Model",
    structures=("a",),
    split="val",
    runs=("Model",),
    colours={},
    config=FiguresConfig(dpi=60),
)
REPORT = ["subject", "status", "severity", "check", "channel", "file", "message", "remedy"]


def make_flow(
    folder: Path,
    *,
    used: int = 20,
    folds: int = 5,
    test: int = 4,
    bad: int = 0,
    reasons: int = 1,
    unused: int = 0,
    scans: int = 1,
) -> dict[str, Path]:
    """Write dataset_report.csv, splits.csv and metrics.csv; one subject misses a structure."""
    names = [f"case_{number:04}" for number in range(used + bad + unused)]
    report = [
        (name, "used", "ok", "none", *[""] * 4) for name in (*names[:used], *names[used + bad :])
    ]
    for number, name in enumerate(names[used : used + bad]):
        check = f"check_number_{number % reasons}"
        report += [(name, "excluded", "error", check, *[""] * 4)]
        report += [(name, "excluded", "warning", "spacing", *[""] * 4)]
    splits, metrics = [], []
    for fold in range(folds):
        for number, name in enumerate(names[:used]):
            is_val = number % max(folds, 2) == fold
            role = "test" if number < test else "val" if is_val else "train"
            splits.append((name, f"group_{number // scans}", "", str(fold), role))
            if role == "val":
                metrics.append(metrics_row(name, "val", str(fold), missed=number == test))
    metrics += [metrics_row(name, "test", "ensemble", missed=False) for name in names[:test]]
    columns = ["subject", "group", "institution", "fold", "role"]
    write_table(folder / "dataset_report.csv", pd.DataFrame(report, columns=REPORT))
    write_table(folder / "splits.csv", pd.DataFrame(splits, columns=columns))
    write_metrics(folder / "metrics.csv", pd.DataFrame(metrics, columns=METRICS_COLUMNS))
    return {name: folder / f"{name}.csv" for name in ("dataset_report", "splits", "metrics")}


def metrics_row(subject: str, split: str, fold: str, *, missed: bool) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(METRICS_COLUMNS, 0)
    row |= dict.fromkeys(("spacing_x_mm", "spacing_y_mm", "spacing_z_mm"), 1.0)
    row |= {"model": "Model", "dataset": "made_up", "synthetic": True, "structure": "a", "label": 1}
    row |= {"subject": subject, "split": split, "fold": fold, "institution": "", "series": ""}
    return row | {"state": "missed" if missed else "ok"}


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"folds": 1},
        {"folds": 10, "used": 1000, "test": 200, "bad": 40, "reasons": 9, "unused": 12},
        {"folds": 10, "test": 0},
        {"folds": 30, "used": 60, "test": 10},
        {"folds": 80, "used": 80, "test": 0},
        {"bad": 1, "scans": 2},
        {"unused": 3},
        {"used": 2, "folds": 2, "test": 0},
    ],
    ids=str,
)
def test_everything_can_be_read(tmp_path: Path, made: dict) -> None:
    inputs = make_flow(tmp_path, **made)
    with mpl.rc_context(style.parameters(CONTEXT.config)):
        figure, _ = draw(inputs, CONTEXT)
        assert problems(figure) == []


def test_everybody_is_counted_once(tmp_path: Path) -> None:
    inputs = make_flow(tmp_path, bad=3, reasons=2, unused=5, scans=2)
    _, table = draw(inputs, CONTEXT)
    counted = table[table["fold"] == ""].set_index("label")["n"]
    assert counted["Subjects found"] == 28
    assert counted["Excluded by checks"] == 3
    assert (counted["check number 0"], counted["check number 1"]) == (2, 1)
    assert counted["Left out by the configuration"] == 5
    assert (counted["Subjects used"], counted["groups"]) == (20, 10)
    assert (counted["Cross-validation"], counted["Test set"]) == (16, 4)
    assert (counted["Predicted out of fold"], counted["Predicted by the ensemble"]) == (16, 4)
    assert counted["with a structure missed"].tolist() == [1, 0]
    folds = table[table["box"] == "fold"].pivot(index="fold", columns="label", values="n")
    assert folds["val"].sum() == 16
    assert (folds["train"] + folds["val"] == 16).all()


def test_many_reasons_are_summed_up(tmp_path: Path) -> None:
    inputs = make_flow(tmp_path, bad=20, reasons=9)
    _, table = draw(inputs, CONTEXT)
    excluded = table[table["box"] == "excluded"]
    assert excluded["label"].iloc[-1] == "other reasons"
    assert excluded["n"].iloc[1:].sum() == excluded["n"].iloc[0] == 20


def test_without_a_test_set_there_is_no_box_for_it(tmp_path: Path) -> None:
    figure, _ = draw(make_flow(tmp_path, test=0), CONTEXT)
    said = [text.get_text() for text in drawn_texts(figure)]
    assert not any("Test set" in text or "ensemble" in text for text in said)


def test_nobody_was_found(tmp_path: Path) -> None:
    inputs = make_flow(tmp_path)
    write_table(inputs["dataset_report"], pd.DataFrame(columns=REPORT))
    with pytest.raises(EmptyFigure, match="No subject"):
        draw(inputs, CONTEXT)


def test_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    inputs = make_flow(tmp_path)
    for run in ("one", "two"):
        draw_figure("flow", inputs, CONTEXT, tmp_path / run)
    for suffix in (".png", ".pdf", ".csv"):
        one, two = ((tmp_path / run).with_suffix(suffix) for run in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
