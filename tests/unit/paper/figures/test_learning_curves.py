from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.tables import write_table
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure, draw_figure
from crossfold.paper.figures.learning_curves import draw
from tests.unit.paper.figures.layout import problems

CONTEXT = Context(
    run="Model",
    structures=("a", "b"),
    split="val",
    runs=("Model",),
    colours={},
    config=FiguresConfig(dpi=60),
)


def make_training(folder: Path, *, folds: int = 5, epochs: int = 20) -> dict[str, list[Path]]:
    """Write training.csv of each fold: 3 s of training, and 1 s of validation every other epoch."""
    paths = []
    for fold in range(folds):
        rows = []
        for epoch in range(1, epochs + 1):
            for phase in ("train", "val") if epoch % 2 == 0 else ("train",):
                seconds = 3.0 if phase == "train" else 1.0
                loss = 1 / epoch + 0.01 * fold
                values = {"loss": loss, "dice_a": 1 - loss / 2, "dice_b": 1 - loss / 3}
                for place, (metric, value) in enumerate(values.items()):
                    written = seconds - 0.5 * (2 - place)
                    rows.append((epoch, phase, metric, value, 0.01 / epoch, written))
        columns = ["epoch", "phase", "metric", "value", "lr", "seconds"]
        paths.append(folder / "folds" / str(fold) / "training.csv")
        write_table(paths[-1], pd.DataFrame(rows, columns=columns))
    return {"training": paths}


@pytest.mark.parametrize(("folds", "epochs"), [(1, 1), (1, 30), (5, 20), (10, 300)])
def test_everything_can_be_read(tmp_path: Path, folds: int, epochs: int) -> None:
    inputs = make_training(tmp_path, folds=folds, epochs=epochs)
    with mpl.rc_context(style.parameters(CONTEXT.config)):
        figure, table = draw(inputs, CONTEXT)
        assert problems(figure) == []
    assert set(table["fold"]) == {*map(str, range(folds)), "mean"}


def test_means_over_structures_and_folds(tmp_path: Path) -> None:
    _, table = draw(make_training(tmp_path, folds=2, epochs=4), CONTEXT)
    rows = table[(table["panel"] == "dice") & (table["phase"] == "val") & (table["epoch"] == 4)]
    by_fold = rows.set_index("fold")["value"]
    assert by_fold["0"] == pytest.approx(1 - 0.25 * (1 / 2 + 1 / 3) / 2)
    assert by_fold["mean"] == pytest.approx((by_fold["0"] + by_fold["1"]) / 2)


def test_time_adds_up_over_phases_and_epochs(tmp_path: Path) -> None:
    _, table = draw(make_training(tmp_path, folds=1, epochs=4), CONTEXT)
    minutes = table[(table["panel"] == "minutes") & (table["fold"] == "0")]
    np.testing.assert_allclose(minutes["value"] * 60, [3, 7, 10, 14])


@pytest.mark.parametrize(("run", "epoch"), [("Model", 6), ("Model@4", 4)])
def test_the_checkpoint_that_predicts_is_marked(tmp_path: Path, run: str, epoch: int) -> None:
    _, table = draw(make_training(tmp_path, epochs=6), replace(CONTEXT, run=run))
    assert table.loc[table["saved"], "epoch"].unique().tolist() == [epoch]


def test_losses_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    inputs = make_training(tmp_path, folds=2, epochs=4)
    broken = pd.read_csv(inputs["training"][0])
    broken.loc[broken["metric"] == "loss", "value"] = np.inf
    write_table(inputs["training"][0], broken)
    _, table = draw(inputs, CONTEXT)
    assert set(table.loc[table["panel"] == "loss", "fold"]) == {"1", "mean"}
    assert np.isfinite(table["value"]).all()


def test_nothing_was_trained(tmp_path: Path) -> None:
    with pytest.raises(EmptyFigure):
        draw({"training": []}, CONTEXT)
    with pytest.raises(EmptyFigure):
        draw(make_training(tmp_path, folds=1, epochs=0), CONTEXT)


def test_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    inputs = make_training(tmp_path)
    for run in ("one", "two"):
        draw_figure("learning_curves", inputs, CONTEXT, tmp_path / run)
    for suffix in (".png", ".pdf", ".csv"):
        one, two = ((tmp_path / run).with_suffix(suffix) for run in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
