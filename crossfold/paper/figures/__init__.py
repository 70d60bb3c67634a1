"""The figures of a paper: one module each, one entry in the catalogue for each file that is drawn.

A module has one public function, `draw(inputs, context)`, which returns the figure and the table
that it was drawn from; `draw_figure` calls it and saves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from crossfold.config.figures import FiguresConfig
from crossfold.evaluation.tables import write_table
from crossfold.images import atomic_path
from crossfold.paper import style
from crossfold.paper.catalogue import FIGURES


class EmptyFigure(Exception):  # noqa: N818 - it is no error
    """There is nothing to draw; the message says why, as a sentence for the reader."""


@dataclass(frozen=True)
class Context:
    """What a figure is drawn with, besides its input files.

    Parameters
    ----------
    run
        Model, or model and epoch, whose results these are.
    structures
        Structures and then derived structures, in the order of the configuration.
    split
        Whom figures are about (`statistics.primary_split`): val, all subjects out of fold; or
        test, as the ensemble predicts it.
    runs
        Names of all compared runs, this one first.
    colours
        Colour of each run, the same in all figures.
    config
        Section `figures`.
    synthetic
        Whether the data are synthetic, which figures of images have to say.
    options
        What sets this figure apart from others of its module, such as the metric.
    """

    run: str
    structures: tuple[str, ...]
    split: str
    runs: tuple[str, ...]
    colours: Mapping[str, str]
    config: FiguresConfig
    synthetic: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def draw_figure(name: str, inputs: Mapping[str, Any], context: Context, target: Path) -> None:
    """Draw a figure and save it as PDF and PNG, with the table that it was drawn from as CSV.

    Parameters
    ----------
    name
        A key of `FIGURES`.
    inputs
        Path, or list of paths, by the names in `Entry.inputs`.
    context
        What else the figure is drawn with.
    target
        Path of the files, without suffix.
    """
    module = import_module(f"crossfold.paper.figures.{FIGURES[name].module}")
    with mpl.rc_context(style.parameters(context.config)):
        try:
            figure, table = module.draw(inputs, context)
        except EmptyFigure as reason:
            figure = style.sentence(str(reason), context.config)
            table = pd.DataFrame({"reason": [str(reason)]})
        _save(figure, table, target, context.config)


def _save(figure: Figure, table: pd.DataFrame, target: Path, config: FiguresConfig) -> None:
    write_table(target.with_name(f"{target.name}.csv"), table)
    # Neither date nor version of the library: the same results give the same bytes.
    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"CreationDate": None})):
        with atomic_path(target.with_name(target.name + suffix)) as temporary:
            figure.savefig(temporary, dpi=config.dpi, metadata=metadata)
