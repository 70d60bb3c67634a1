"""Segmentations over images: the subjects that are listed as outliers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from crossfold.evaluation.frames import read_frame
from crossfold.evaluation.results import result_rows
from crossfold.evaluation.tables import read_metrics
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.blocks import Block, describe_panels, draw_blocks
from crossfold.paper.figures.montage import dice_in_words, read_subject
from crossfold.paper.slices import own_labels

MOST_SUBJECTS = 6
# What is wrong for certain comes before what is only the worst of all.
CLASSES = ("hard", "rank")
WORDS = {"worst": "among the lowest mean Dice"}


def draw(inputs: Mapping[str, Any], context: Context) -> tuple[Figure, pd.DataFrame]:
    """Draw three planes of at most six outliers, with the reasons for which they are listed.

    Of `context.split`: those with a hard reason, then those that are listed for their rank; among
    them, the lowest mean Dice first.

    Parameters
    ----------
    inputs
        `dataset` (dataset.csv), `segmentations` (directories of predictions), `metrics` and
        `outliers`.
    context
        Its options hold `image`, the channel to show, and `labels` of the structures.

    Raises
    ------
    EmptyFigure
        If nobody is listed, or nobody who is listed has a segmentation.
    """
    structures = own_labels(context.options["labels"])
    metrics = read_metrics(inputs["metrics"])
    metrics = metrics[metrics["structure"].isin(structures)]
    split = context.split if (metrics["split"] == context.split).any() else "val"
    metrics = result_rows(metrics, split)
    reasons = choose_reasons(read_frame(inputs["outliers"]), split)
    if reasons.empty:
        raise EmptyFigure("No subject is an outlier for a hard reason, and none has a rank.")
    subjects = list(dict.fromkeys(reasons["subject"]))
    blocks, tables = [], []
    for number, subject in enumerate(subjects[:MOST_SUBJECTS], start=1):
        own = reasons[reasons["subject"] == subject]
        case = read_subject(inputs, context, subject)
        dice = metrics[metrics["subject"] == subject].set_index("structure")["dice"]
        paragraphs = (reasons_in_words(own), dice_in_words(dice, context.config))
        blocks.append(Block(case, f"{number} of {len(subjects)}: {subject}", paragraphs))
        tables.append(
            describe_panels(case).assign(
                subject=subject,
                split=split,
                dice=dice.mean(),
                reasons=reasons_in_words(own),
            )
        )
    figure = draw_blocks(blocks, structures, split, context)
    table = pd.concat(tables, ignore_index=True)
    return figure, table[["subject", "split", "dice", "reasons", "plane", "slice", "dice_loss"]]


def choose_reasons(outliers: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the rows of hard reasons and ranks, in the order in which subjects are shown."""
    shown = outliers[(outliers["split"] == split) & outliers["class"].isin(CLASSES)]
    if split == "test":
        shown = shown[shown["fold"] == "ensemble"]
    order = shown.assign(
        place=shown["class"].map(CLASSES.index).astype(int),
        rank=pd.to_numeric(shown["rank"], errors="coerce"),
    ).sort_values(["place", "rank", "subject", "structure"], kind="stable")
    return shown.loc[order.index]


def reasons_in_words(reasons: pd.DataFrame) -> str:
    """Return why a subject is listed: each reason with its structures and values.

    Examples
    --------
    >>> row = {"reason": "missed", "structure": "bladder", "metric": "dice", "value": 0.0}
    >>> reasons_in_words(pd.DataFrame([row | {"unit": "1"}]))
    'Missed: bladder'
    """
    said: dict[str, list[str]] = {}
    for row in reasons.to_dict("records"):
        reason = WORDS.get(row["reason"], row["reason"].replace("_", " "))
        places = said.setdefault(reason, [])
        places += [place for place in [_place(row)] if place]
    words = "; ".join(
        f"{reason}: {', '.join(places)}" if places else reason for reason, places in said.items()
    )
    return words[:1].upper() + words[1:]


def _place(row: Mapping[Hashable, Any]) -> str:
    """Return a structure, with the value that was too far where that says more than the reason."""
    value = pd.to_numeric(row["value"], errors="coerce")
    if not np.isfinite(value) or value == 0 or row["metric"] == "dice":
        return str(row["structure"])
    unit = "" if str(row["unit"]) in ("", "1", "count") else f" {row['unit']}"
    return f"{row['structure']} {value:.3g}{unit}".strip()
