from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.epochs import COLUMNS
from crossfold.evaluation.tables import write_table
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure, draw_figure
from crossfold.paper.figures.epochs import draw
from tests.unit.paper.figures.layout import problems

CONTEXT = Context(
    run="Model",
    structures=("a", "b"),
    split="val",
    runs=("Model",),
    colours={},
    config=FiguresConfig(dpi=60),
)


def make_epochs(
    folder: Path, *, structures: int = 2, epochs: int = 3, test: bool = True, few: bool = False
) -> tuple[dict[str, Path], Context]:
    names = tuple(f"a_structure_with_a_long_name_{number}" for number in range(structures))
    rows = [
        (10 * epoch, split, name, metric, 0.9 - 0.3 / epoch, 0.8 - 0.3 / epoch, 0.95, epoch == 2)
        for epoch in range(1, epochs + 1)
        for split in (("val", "test") if test else ("val",))
        for name in names
        for metric in ("dice", "nsd")
    ]
    columns = ["epoch", "split", "structure", "metric", "mean", "ci_low", "ci_high", "best_on_val"]
    table = pd.DataFrame(rows, columns=columns).reindex(columns=COLUMNS)
    if few:
        table[["ci_low", "ci_high"]] = np.nan
    path = folder / "epochs.csv"
    write_table(path, table)
    return {"epochs": path}, replace(CONTEXT, structures=names)


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"structures": 1, "epochs": 1, "few": True},
        {"structures": 7, "epochs": 12},
        {"structures": 25, "test": False},
    ],
    ids=str,
)
def test_everything_can_be_read(tmp_path: Path, made: dict) -> None:
    inputs, context = make_epochs(tmp_path, **made)
    with mpl.rc_context(style.parameters(context.config)):
        figure, table = draw(inputs, context)
        assert problems(figure) == []
    assert {*table["metric"]} == {"dice"}
    assert {*table["structure"]} == {*context.structures}


def test_the_best_epoch_is_marked_out_of_fold_and_nowhere_else(tmp_path: Path) -> None:
    inputs, context = make_epochs(tmp_path)
    figure, _ = draw(inputs, context)
    for axes in figure.axes:
        marked = [line for line in axes.lines if line.get_marker() == "D"]
        assert [round(float(line.get_xdata()[0])) for line in marked] == [20]
        assert marked[0].get_color() == axes.lines[0].get_color()


def test_without_any_dice_there_is_a_sentence(tmp_path: Path) -> None:
    inputs, context = make_epochs(tmp_path, epochs=0)
    with pytest.raises(EmptyFigure):
        draw(inputs, context)


def test_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    inputs, context = make_epochs(tmp_path)
    for run in ("one", "two"):
        draw_figure("epochs", inputs, context, tmp_path / run)
    for suffix in (".png", ".pdf", ".csv"):
        one, two = ((tmp_path / run).with_suffix(suffix) for run in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
