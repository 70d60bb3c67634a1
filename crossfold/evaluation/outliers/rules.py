"""Rules for one result at a time: what is wrong with it, whatever the others are.

A geometry that does not match its contours is none of them: such a file is refused when it is
measured, and no metrics exist of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from crossfold.config.outliers import OutliersConfig

OutlierClass = Literal["hard", "clinical", "statistical", "disagreement", "rank"]
INSPECTION_KEYS = ["split", "fold", "subject", "structure"]
INSPECTED = ["touches_border", "remote_component_mm", "dice_swapped", "partner"]


@dataclass(frozen=True)
class Judgement:
    """What a rule finds in the rows of one structure; all series have the index of those rows.

    Parameters
    ----------
    checked
        Rows that the rule can say something about.
    found
        Rows that are outliers; some of `checked`.
    value, threshold
        What was compared, in the unit of the rule; a threshold is NaN where there is none.
    note
        For the reader of the list.
    remark
        About the structure as a whole, such as why the rule does not apply; may be empty.
    """

    checked: pd.Series
    found: pd.Series
    value: pd.Series
    threshold: pd.Series
    note: pd.Series
    remark: str = ""

    @classmethod
    def of(
        cls,
        found: pd.Series,
        value: pd.Series,
        *,
        checked: pd.Series | None = None,
        threshold: pd.Series | float = np.nan,
        note: pd.Series | str = "",
        remark: str = "",
    ) -> Judgement:
        """Fill in what is the same for all rows; all rows are checked unless stated."""
        index = found.index
        checked = pd.Series(True, index) if checked is None else checked
        return cls(
            checked,
            found & checked,
            value.astype(float),
            threshold if isinstance(threshold, pd.Series) else pd.Series(threshold, index, float),
            note if isinstance(note, pd.Series) else pd.Series(note, index, str),
            remark,
        )

    @classmethod
    def nothing(cls, rows: pd.DataFrame, remark: str) -> Judgement:
        """No row can be checked, for a reason."""
        none, missing = pd.Series(False, rows.index), pd.Series(np.nan, rows.index)
        return cls(none, none, missing, missing, pd.Series("", rows.index), remark)


@dataclass(frozen=True)
class Rule:
    """A reason for being an outlier, and the judge who applies it to the rows of one structure."""

    reason: str
    outlier_class: OutlierClass
    metric: str
    unit: str
    judge: Callable[[pd.DataFrame, OutliersConfig], Judgement]


def _missed(rows: pd.DataFrame, _: OutliersConfig) -> Judgement:
    present = rows["state"].isin(["ok", "missed"])
    note = "not found at all, of a reference of that volume"
    return Judgement.of(
        rows["state"] == "missed", rows["volume_ref_ml"], checked=present, note=note
    )


def _hallucinated(rows: pd.DataFrame, _: OutliersConfig) -> Judgement:
    absent = rows["state"].isin(["hallucinated", "true_absent"])
    note = "found where the reference has none"
    return Judgement.of(
        rows["state"] == "hallucinated", rows["volume_pred_ml"], checked=absent, note=note
    )


def _swapped(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
    swapped = rows["dice_swapped"]
    threshold = (rows["dice"] + config.swap_gain).round(9)
    note = [
        f"Dice {dice:.3g}, and {exchanged:.3g} after exchanging labels with {partner}"
        for dice, exchanged, partner in zip(rows["dice"], swapped, rows["partner"], strict=True)
    ]
    return Judgement.of(
        swapped > threshold,
        swapped,
        checked=threshold.notna() & swapped.notna(),
        threshold=threshold,
        note=pd.Series(note, rows.index, str),
    )


def _extra_components(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
    count = rows["n_components_pred"]
    threshold = rows["n_components_ref"] + config.extra_components
    note = "the reference has " + rows["n_components_ref"].astype(str)
    return Judgement.of(count > threshold, count, threshold=threshold.astype(float), note=note)


def _remote(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
    distance = rows["remote_component_mm"]
    return Judgement.of(
        distance > config.remote_mm,
        distance,
        checked=distance.notna(),
        threshold=config.remote_mm,
        note="distance of a component from the reference",
    )


def _truncated(rows: pd.DataFrame, _: OutliersConfig) -> Judgement:
    touches = rows["touches_border"]
    note = "reaches the border of the image, where the reference does not"
    return Judgement.of(
        touches.eq(True), rows["volume_pred_ml"], checked=touches.notna(), note=note
    )


def _low_dice(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
    limit = _limit_of(config.dice, rows)
    if limit is None:
        return Judgement.nothing(rows, "no limit in outliers.dice")
    dice = rows["dice"]
    return Judgement.of(dice < limit, dice, checked=dice.notna(), threshold=limit)


def _high_hd95(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
    limit = _limit_of(config.hd95_mm, rows)
    if limit is None:
        return Judgement.nothing(rows, "no limit in outliers.hd95_mm")
    hd95 = rows["hd95_mm"]
    return Judgement.of(hd95 > limit, hd95, checked=hd95.notna(), threshold=limit)


def _wrong_volume(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
    """Off by more than both limits; the one that decides is the threshold, with its sign."""
    difference = rows["volume_diff_ml"]
    limit = np.maximum(config.volume_ml, config.volume_pct / 100 * rows["volume_ref_ml"])
    note = "reference " + rows["volume_ref_ml"].map("{:.3g} ml".format)
    return Judgement.of(
        difference.abs() > limit,
        difference,
        checked=rows["dice"].notna(),
        threshold=limit * np.sign(difference),
        note=note,
    )


def _limit_of(setting: float | Mapping[str, float], rows: pd.DataFrame) -> float | None:
    """Limit of the structure that the rows are of; None if there is none."""
    if not isinstance(setting, Mapping):
        return setting
    return setting.get(rows["structure"].iloc[0], setting.get("default"))


INSPECTED_RULES = (
    Rule("left_right_swap", "hard", "dice", "1", _swapped),
    Rule("remote_component", "hard", "remote_component_mm", "mm", _remote),
    Rule("truncated_at_border", "hard", "volume_pred_ml", "ml", _truncated),
)
"""Rules about what inspection.csv says."""

RULES = (
    Rule("missed", "hard", "volume_ref_ml", "ml", _missed),
    Rule("hallucinated", "hard", "volume_pred_ml", "ml", _hallucinated),
    INSPECTED_RULES[0],
    Rule("extra_components", "hard", "n_components_pred", "count", _extra_components),
    *INSPECTED_RULES[1:],
    Rule("low_dice", "clinical", "dice", "1", _low_dice),
    Rule("high_hd95", "clinical", "hd95_mm", "mm", _high_hd95),
    Rule("wrong_volume", "clinical", "volume_diff_ml", "ml", _wrong_volume),
)
"""All rules about one result at a time, in the order of the list."""
