from __future__ import annotations

import pandas as pd

from crossfold.paper.montage import choose_subjects


def metrics(**dice: list[float]) -> pd.DataFrame:
    rows = [(subject, value) for subject, values in dice.items() for value in values]
    return pd.DataFrame(rows, columns=["subject", "dice"])


def test_best_median_and_worst_by_the_mean_over_structures() -> None:
    chosen = choose_subjects(
        metrics(a=[0.9, 0.5], b=[0.8, 0.8], c=[0.9, 0.9], d=[0.1, 0.3], e=[1, 0.0])
    )
    assert chosen["rank"].tolist() == ["best", "median", "worst"]
    assert chosen["subject"].tolist() == ["c", "a", "d"]


def test_ties_go_by_name_and_nobody_is_shown_twice() -> None:
    assert choose_subjects(metrics(b=[0.5], a=[0.5]))["subject"].tolist() == ["a", "b"]
    assert choose_subjects(metrics(a=[0.5]))["rank"].tolist() == ["best"]
