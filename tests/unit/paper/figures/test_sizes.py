"""Every figure of results, at all sizes of results: readable, on the page, and not empty."""

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure

from crossfold.paper import style
from tests.unit.paper.figures.factory import Made, make
from tests.unit.paper.figures.layout import problems

FIGURES = [
    ("metrics", {"metric": "dice"}),
    ("metrics", {"metric": "hd95_mm"}),
    ("paired_differences", {"metric": "dice"}),
    ("paired_differences", {"metric": "hd95_mm"}),
    ("scatter", {"metric": "dice"}),
    ("scatter", {"metric": "hd95_mm"}),
    ("bland_altman", {}),
    ("ranks", {}),
    ("significance", {}),
    ("failures", {}),
    ("institutions", {}),
]
SIZES: dict[str, dict[str, Any]] = {
    "two structures, five subjects": {"runs": 2, "structures": 2, "subjects": 5},
    "one structure, one fold": {"runs": 3, "structures": 1, "subjects": 40, "folds": 1},
    "25 structures with long names": {"runs": 2, "structures": 25, "subjects": 6, "long": True},
    "eight runs": {"runs": 8, "structures": 5, "subjects": 6, "long": True, "pairs": "all"},
    "eight runs, 25 structures": {"runs": 8, "structures": 25, "subjects": 5, "long": True},
    "on test, ten folds": {"runs": 4, "structures": 3, "subjects": 12, "folds": 10, "on": "test"},
    "constant": {"runs": 3, "structures": 3, "subjects": 12, "constant": True, "failures": 0},
    "all failed": {"runs": 3, "structures": 3, "subjects": 12, "failures": 1},
}

LARGE = ("25 structures with long names", "eight runs", "eight runs, 25 structures")


def drawn(module: str, made: Made) -> tuple[Figure, pd.DataFrame]:
    with mpl.rc_context(style.parameters(made.context.config)):
        figure = import_module(f"crossfold.paper.figures.{module}")
        return figure.draw(made.inputs_of(module), made.context)


@pytest.mark.parametrize(
    "size", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in SIZES]
)
@pytest.mark.parametrize(("module", "options"), FIGURES, ids=str)
def test_every_figure_is_readable(
    module: str, options: dict[str, Any], size: str, tmp_path: Path
) -> None:
    sizes = dict(SIZES[size])
    long, on = sizes.pop("long", False), sizes.pop("on", "val")
    made = make(tmp_path, **sizes, long_names=long, split=on, institutions=3, **options)
    figure, table = drawn(module, made)
    with mpl.rc_context(style.parameters(made.context.config)):
        assert problems(figure) == []
    assert len(table)


@pytest.mark.parametrize(("module", "options"), FIGURES, ids=str)
def test_a_figure_of_200_subjects_takes_less_than_four_seconds(
    module: str, options: dict[str, Any], results_of_200: Made, tmp_path: Path
) -> None:
    made = Made(results_of_200.inputs, results_of_200.with_options(options))
    start = time.process_time()
    figure, _ = drawn(module, made)
    with mpl.rc_context(style.parameters(made.context.config)):
        figure.savefig(tmp_path / "figure.png", dpi=300)
        figure.savefig(tmp_path / "figure.pdf")
    assert time.process_time() - start < 4


@pytest.fixture(scope="module")
def results_of_200(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("results")
    return make(folder, runs=3, structures=5, subjects=200, institutions=3)
