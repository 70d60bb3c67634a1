from __future__ import annotations

import pandas as pd
import pytest

from crossfold.config.search import PruneConfig
from crossfold.search.stopping import QuantileStopping, validation_curve


def history(*dice: float) -> pd.DataFrame:
    """A training that was validated every second epoch, with one row of training before each."""
    rows = []
    for number, value in enumerate(dice, 1):
        rows += [(2 * number, "train", "dice_a", 0.99), (2 * number, "val", "loss", 5.0)]
        rows += [(2 * number, "val", "dice_a", value - 0.1), (2 * number, "val", "dice_b", None)]
        rows += [(2 * number, "val", "dice_c", value + 0.1)]
    return pd.DataFrame(rows, columns=["epoch", "phase", "metric", "value"])


# Running means at epoch 4: 0.2, 0.3, 0.4, 0.9; at epoch 6: 0.3, 0.4, 0.5, 0.9.
CURVES = pd.DataFrame(
    [
        (trial, 0, "complete", epoch, dice)
        for trial, values in enumerate(
            [(0.1, 0.3, 0.5), (0.2, 0.4, 0.6), (0.3, 0.5, 0.7), (0.9, 0.9, 0.9)]
        )
        for epoch, dice in zip((2, 4, 6), values, strict=True)
    ],
    columns=["trial", "fold", "status", "epoch", "dice"],
)


def test_the_curve_is_the_mean_of_the_structures_in_the_crops() -> None:
    assert validation_curve(history(0.3, 0.5)).to_dict() == pytest.approx({2: 0.3, 4: 0.5})


@pytest.mark.parametrize(
    ("dice", "stops"),
    [
        ((0.1, 0.34), True),  # the median of 0.2, 0.3, 0.4, 0.9 is 0.35
        ((0.1, 0.36), False),
        ((0.36, 0.1), False),  # the best so far counts, not the last
        ((0.1, 0.34, 0.44), True),  # the median of 0.3, 0.4, 0.5, 0.9 is 0.45
        ((0.1, 0.34, 0.46), False),
        ((0.01,), False),  # epoch 2 of 12 is before `after`
        ((), False),
    ],
)
def test_the_median_rule(dice: tuple[float, ...], stops: bool) -> None:
    rule = QuantileStopping(PruneConfig(after=0.3), CURVES, epochs=12)
    assert bool(rule(history(*dice))) == stops


def test_the_quantile_and_the_number_of_trials() -> None:
    low = QuantileStopping(PruneConfig(after=0, quantile=0.1), CURVES, epochs=12)
    assert not low(history(0.1, 0.24))  # 0.2 + 0.3 * (0.3 - 0.2) = 0.23
    assert low(history(0.1, 0.22))
    more = QuantileStopping(PruneConfig(after=0, at_least=5), CURVES, epochs=12)
    assert not more(history(0.0, 0.0))


def test_the_reason_says_the_numbers() -> None:
    said = QuantileStopping(PruneConfig(), CURVES, epochs=12)(history(0.1, 0.2))
    assert said == (
        "epoch 4: Dice on validation crops was at most 0.200, and 0.350 is quantile 0.5 of 4 "
        "finished trials"
    )


def test_of_a_training_that_has_ended_the_first_epoch_at_which_it_would_have_stopped() -> None:
    rule = QuantileStopping(PruneConfig(after=0.3), CURVES, epochs=12)
    assert rule(history(0.1, 0.34, 0.9)) is None
    epoch, reason = rule.first(history(0.1, 0.34, 0.9)) or (0, "")
    assert epoch == 4
    assert reason == rule(history(0.1, 0.34))
    assert rule.first(history(0.1, 0.36, 0.9)) is None
