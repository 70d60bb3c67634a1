from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from crossfold.config.search import Space
from crossfold.search.association import associations
from crossfold.search.table import COMPLETE, STOPPED

SPACES = {
    "training.learning_rate": Space(uniform=(0, 10)),
    "training.batch_size": Space(int_uniform=(1, 4)),
    "training.warmup": Space(choice=(None, 0.1)),
    "network.act": Space(choice=("relu", "gelu")),
}


def table(count: int = 8, **columns: Any) -> pd.DataFrame:
    trials = {"trial": range(count), "status": COMPLETE, "mean": [n / 10 for n in range(count)]}
    return pd.DataFrame({**trials, **columns})


def rates(*values: str) -> dict[str, list[str]]:
    return {"training.learning_rate": [*values]}


def test_what_goes_with_the_score() -> None:
    trials = table(
        **{
            "training.learning_rate": ["1", "2", "3", "4", "5", "6", "7", "8"],
            "network.act": [*["relu"] * 4, *["gelu"] * 4],
            "training.batch_size": ["2"] * 8,
        }
    )
    shares = associations(trials, SPACES)
    assert shares["training.learning_rate"] == pytest.approx(1)
    # Ranks 1 to 8 have the variance 5.25, their means 2.5 and 6.5 have 4.
    assert shares["network.act"] == pytest.approx(4 / 5.25)
    assert "training.batch_size" not in shares
    assert associations(trials[:7], SPACES) == {}
    assert associations(trials.assign(mean=0.5), SPACES) == {}
    stopped = trials.assign(status=[STOPPED, *[COMPLETE] * 7])
    assert associations(stopped, SPACES) == {}


@pytest.mark.parametrize("unknown", ["", "null"])
def test_a_trial_without_a_value_of_a_number_says_nothing_about_it(unknown: str) -> None:
    """The model as it is: it may have null, or what its network has by default."""
    values = ["3", "1", "4", "1.5", "9", "2", "6", "5"]
    known = associations(table(**rates(*values)), SPACES)
    more = table(9, **rates(*values, unknown)).assign(mean=[*[n / 10 for n in range(8)], 0.05])
    assert associations(more, SPACES) == pytest.approx(known)
    assert associations(table(**rates(*values[:7], unknown)), SPACES) == {}
    assert associations(table(9, **rates(*["3"] * 8, unknown)), SPACES) == {}


def test_null_is_a_value_where_it_is_a_choice() -> None:
    texts = [*["null"] * 4, *["0.1"] * 4]
    shares = associations(table(**{"training.warmup": texts}), SPACES)
    assert shares["training.warmup"] == pytest.approx(4 / 5.25)
