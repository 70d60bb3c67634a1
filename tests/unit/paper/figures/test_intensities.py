from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from crossfold.config.figures import FiguresConfig
from crossfold.data.normalisation import HISTOGRAM_COLUMNS, histogram
from crossfold.evaluation.tables import write_table
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.intensities import MEAN, draw
from tests.unit.paper.figures.layout import problems

CONTEXT = Context(
    run="Model",
    structures=("a",),
    split="val",
    runs=("Model",),
    colours={},
    config=FiguresConfig(dpi=60),
)


def table_of(folder: Path, subjects: int, channels: list[str]) -> dict[str, Path]:
    random = np.random.default_rng(0)
    parts = [
        histogram(scale * random.gamma(2, 1, 500)).assign(
            subject=f"S{subject}", channel=channel, stage=stage
        )
        for subject in range(subjects)
        for channel in channels
        for stage, scale in (("before", 100 * (1 + subject)), ("after", 1))
    ]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=HISTOGRAM_COLUMNS)
    write_table(folder / "intensities.csv", table.reindex(columns=HISTOGRAM_COLUMNS))
    return {"intensities": folder / "intensities.csv"}


@pytest.mark.parametrize(
    ("subjects", "channels"), [(1, ["ct"]), (40, ["a_channel_with_a_very_long_name", "T2", "$"])]
)
def test_everything_can_be_read(tmp_path: Path, subjects: int, channels: list[str]) -> None:
    inputs = table_of(tmp_path, subjects, channels)
    with mpl.rc_context(style.parameters(CONTEXT.config)):
        figure, table = draw(inputs, CONTEXT)
        assert problems(figure) == []
    assert set(table["channel"]) == set(channels)


def test_the_mean_is_that_of_the_subjects(tmp_path: Path) -> None:
    """Two subjects with the densities 1 on [0, 1] and 1/3 on [0, 3] in two bins each."""
    rows = [("a", "ct", "before", low / 2, low / 2 + 0.5, 1.0) for low in (0, 1)]
    rows += [("b", "ct", "before", low * 1.5, low * 1.5 + 1.5, 1 / 3) for low in (0, 1)]
    frame = pd.DataFrame(rows, columns=HISTOGRAM_COLUMNS)
    frame = pd.concat([frame, frame.assign(stage="after")])
    write_table(tmp_path / "intensities.csv", frame)
    _, table = draw({"intensities": tmp_path / "intensities.csv"}, CONTEXT)
    mean = table[(table["subject"] == MEAN) & (table["stage"] == "after")]
    assert (mean["intensity"].min(), mean["intensity"].max()) == (0, 3)
    np.testing.assert_allclose(mean.loc[mean["intensity"] <= 1, "density"], 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(mean.loc[mean["intensity"] > 1, "density"], 1 / 6, rtol=1e-5)


def test_no_image_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(EmptyFigure, match="no image"):
        draw(table_of(tmp_path, 0, []), CONTEXT)
