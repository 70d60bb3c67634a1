"""Segmentations over images: the best, the median and the worst subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crossfold.config.figures import FiguresConfig
from crossfold.data.dataset import Dataset
from crossfold.evaluation.tables import read_metrics
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.blocks import Block, describe_panels, draw_blocks
from crossfold.paper.slices import Case, find_segmentation, own_labels, read_case

# So many Dice values are listed below a subject; of more structures, the lowest ones.
LISTED, LOWEST = 5, 4


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw three planes of the best, the median and the worst subject.

    Test subjects, as the ensemble predicts them, where there are any; else all subjects out of
    fold. They are ranked by their mean Dice over the structures, ties by name. Each plane goes
    through the slice that takes most from that mean.

    Parameters
    ----------
    inputs
        `dataset` (dataset.csv), `segmentations` (directories of predictions) and `metrics`.
    context
        Its options hold `image`, the channel to show, and `labels` of the structures.

    Raises
    ------
    EmptyFigure
        If no subject has both a Dice and a segmentation.
    """
    structures = own_labels(context.options["labels"])
    metrics, split = shown_subjects(read_metrics(inputs["metrics"]), structures)
    chosen = choose_subjects(metrics)
    blocks, tables = [], []
    for line in chosen.to_dict("records"):
        subject = line["subject"]
        case = read_subject(inputs, context, subject)
        own = metrics[metrics["subject"] == subject].set_index("structure")["dice"]
        head = f"{line['rank'].capitalize()} of {line['n']}: {subject}"
        blocks.append(Block(case, head, (dice_in_words(own, context.config),)))
        tables.append(
            describe_panels(case).assign(
                split=split, **{str(name): value for name, value in line.items()}
            )
        )
    figure = draw_blocks(blocks, structures, split, context)
    table = pd.concat(tables, ignore_index=True)
    return figure, table[["rank", "subject", "split", "n", "dice", "plane", "slice", "dice_loss"]]


def shown_subjects(metrics: pd.DataFrame, structures: tuple[str, ...]) -> tuple[pd.DataFrame, str]:
    """Return the ensemble's rows on the test set, else those out of fold, and which they are."""
    metrics = metrics[metrics["structure"].isin(structures)]
    test = metrics[(metrics["split"] == "test") & (metrics["fold"] == "ensemble")]
    return (test, "test") if len(test) else (metrics[metrics["split"] == "val"], "val")


def choose_subjects(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return best, median and worst subject by mean Dice: columns rank, subject, dice, n.

    Raises
    ------
    EmptyFigure
        If nobody has a Dice.
    """
    mean = metrics.groupby("subject")["dice"].mean().dropna().reset_index()
    if mean.empty:
        raise EmptyFigure("No subject has a Dice, so that none is the best or the worst.")
    mean = mean.sort_values(["dice", "subject"], ascending=[False, True]).reset_index(drop=True)
    places = {"best": 0, "median": (len(mean) - 1) // 2, "worst": len(mean) - 1}
    ranked = mean.loc[list(places.values())].assign(rank=list(places), n=len(mean))
    columns = ["rank", "subject", "dice", "n"]
    return ranked.drop_duplicates("subject")[columns].reset_index(drop=True)


def read_subject(inputs: Mapping[str, Any], context: Context, subject: str) -> Case:
    """Read the image, the reference and the prediction of a subject.

    Raises
    ------
    EmptyFigure
        If there is no prediction.
    """
    directories = [Path(directory) for directory in inputs["segmentations"]]
    segmentation = find_segmentation(directories, subject)
    if segmentation is None:
        raise EmptyFigure(f"There is no segmentation of {subject} to be shown.")
    return read_case(
        Dataset.read(inputs["dataset"]),
        segmentation,
        subject,
        image=context.options["image"],
        structures=own_labels(context.options["labels"]),
    )


def dice_in_words(dice: pd.Series, config: FiguresConfig) -> str:
    """Return the mean Dice, and that of few structures or of the worst of many.

    Parameters
    ----------
    dice
        By the name of the structure; missing where it is truly absent.
    config
        Sizes: long names are shortened.
    """
    dice = dice.dropna()
    if dice.empty:
        return ""
    if len(dice) == 1:
        return f"Dice {dice.iloc[0]:.3f}"
    listed = dice if len(dice) <= LISTED else dice.sort_values(kind="stable").head(LOWEST)
    room_mm, size_pt = config.width_mm / (LISTED + 2), style.small(config)
    words = ", ".join(
        f"{style.shorten(str(name), room_mm, size_pt)} {value:.3f}"
        for name, value in listed.items()
    )
    lowest = "" if len(dice) <= LISTED else "lowest "
    return f"Mean Dice {dice.mean():.3f}: {lowest}{words}"
