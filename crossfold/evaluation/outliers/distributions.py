"""Rules for a result among those of the other subjects: fences, disagreement of runs, ranks.

Fences are drawn where the values are spread more evenly: on the logit of Dice and on the logarithm
of the 95th percentile of the surface distance. Failures, which have no finite value there, are
hard outliers already and are left out. The bad side alone counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from scipy import special, stats

from crossfold.config.outliers import OutliersConfig
from crossfold.evaluation.outliers.rules import Judgement, Rule

Transform = Callable[[pd.Series], pd.Series]

_MIN_VALUES = 5
_CLOSEST_DICE = 1e-6  # a Dice of 1 counts as being that close to it


def _logit_dice(rows: pd.DataFrame) -> pd.Series:
    """Negative logit of Dice: bad values are large."""
    clipped = rows["dice"].clip(_CLOSEST_DICE, 1 - _CLOSEST_DICE)
    return pd.Series(-special.logit(clipped), rows.index)


def _log_hd95(rows: pd.DataFrame) -> pd.Series:
    """Logarithm of the distance in mm; a distance of 0 counts as half the smallest voxel side."""
    half_voxel_mm = rows[[f"spacing_{axis}_mm" for axis in "xyz"]].min(axis=1) / 2
    return np.log(rows["hd95_mm"].clip(lower=half_voxel_mm))


_BADNESS = {
    "dice": (_logit_dice, lambda bad: float(special.expit(-bad))),
    "hd95_mm": (_log_hd95, lambda bad: float(np.exp(bad))),
}
"""For each metric, what grows with badness, and the way back."""


def _tukey_fence(values: pd.Series, config: OutliersConfig) -> tuple[float, str]:
    """Upper fence of a box plot (Tukey, Exploratory Data Analysis, 1977)."""
    low, high = values.quantile([0.25, 0.75])
    return high + config.tukey * (high - low), ""


def _robust_fence(values: pd.Series, config: OutliersConfig) -> tuple[float, str]:
    """Limit of the modified z-score (Iglewicz and Hoaglin, 1993)."""
    deviation = stats.median_abs_deviation(values, scale="normal")
    if deviation == 0:
        return np.nan, "the median absolute deviation is 0"
    return float(values.median() + config.robust_z * deviation), ""


def _beyond_fence(
    rows: pd.DataFrame,
    config: OutliersConfig,
    *,
    metric: str,
    fence_of: Callable[[pd.Series, OutliersConfig], tuple[float, str]],
) -> Judgement:
    """Values beyond a fence on the bad side, which is given back in the unit of the metric."""
    ok = rows["state"] == "ok"
    if ok.sum() < _MIN_VALUES:
        return Judgement.nothing(rows, f"fewer than {_MIN_VALUES} values without failures")
    badness_of, metric_of = _BADNESS[metric]
    badness = badness_of(rows)
    fence, remark = fence_of(badness[ok], config)
    if remark:
        return Judgement.nothing(rows, remark)
    return Judgement.of(
        # Equal values must not be told apart by the round-off of a fence between them.
        badness > fence + 1e-9,
        rows[metric],
        checked=ok,
        threshold=metric_of(fence),
        note=f"median {rows.loc[ok, metric].median():.3g} of {ok.sum()}",
    )


FENCES = tuple(
    Rule(reason, "statistical", metric, unit, partial(_beyond_fence, metric=metric, fence_of=fence))
    for reason, fence in (("tukey", _tukey_fence), ("robust_z", _robust_fence))
    for metric, unit in (("dice", "1"), ("hd95_mm", "mm"))
)
"""Rules about the distribution of a metric over the subjects."""


def disagreement_rule(run: str, other: pd.DataFrame) -> Rule:
    """Rule about results that differ from those of another run more than they usually do.

    Parameters
    ----------
    run
        Name of the other run.
    other
        Its results of the same split: subject, structure, dice.
    """
    dice = other.groupby(["subject", "structure"])["dice"].mean()

    def judge(rows: pd.DataFrame, config: OutliersConfig) -> Judgement:
        keys = pd.MultiIndex.from_frame(rows[["subject", "structure"]])
        theirs = pd.Series(dice.reindex(keys).to_numpy(dtype=float), rows.index)
        # Rounded, so that equal differences of decimal numbers are equal.
        difference = (rows["dice"] - theirs).abs().round(9)
        checked = difference.notna()
        if not checked.any():
            return Judgement.nothing(rows, f"no subject in common with {run}")
        limit = np.percentile(difference[checked], config.disagreement_percentile)
        note = [
            f"Dice {ours:.3g}, and {other:.3g} by {run}"
            for ours, other in zip(rows["dice"], theirs, strict=True)
        ]
        return Judgement.of(
            difference > limit,
            difference,
            checked=checked,
            threshold=float(limit),
            note=pd.Series(note, rows.index, str),
            remark=f"compared with {run}",
        )

    return Rule("disagreement", "disagreement", "dice", "1", judge)


def rank_subjects(rows: pd.DataFrame) -> pd.DataFrame:
    """Rank the subjects of one split by their mean Dice.

    Derived structures, which repeat others, do not count where there are others.

    Returns
    -------
    DataFrame
        Index: subject, the worst first, ties by name. Columns: rank (1 is the worst), mean_dice,
        worst_structure. A subject without any structure is not ranked.
    """
    scored = rows[rows["dice"].notna()]
    own = scored["label"].notna()
    scored = scored[own] if own.any() else scored
    by_subject = scored.groupby("subject")["dice"]
    worst = scored.loc[by_subject.idxmin(), ["subject", "structure"]].set_index("subject")
    ranking = pd.DataFrame(
        {"mean_dice": by_subject.mean().round(9), "worst_structure": worst["structure"]}
    )
    ranking = ranking.sort_values("mean_dice", kind="stable")
    ranking.insert(0, "rank", range(1, len(ranking) + 1))
    return ranking
