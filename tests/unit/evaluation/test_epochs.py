from __future__ import annotations

import pandas as pd

from crossfold.evaluation.epochs import COLUMNS, collect_epochs


def summary(val: dict[str, float], test: float = 0.5) -> pd.DataFrame:
    """Means of metrics_summary.csv: out of fold, of a fold on the test set, and of the ensemble."""
    rows = [("val", "pooled", name, "dice", mean) for name, mean in val.items()]
    rows += [("test", fold, name, "dice", test) for fold in ("0", "1", "ensemble") for name in val]
    rows += [("val", "pooled", name, "hd95_mm", 1 / mean) for name, mean in val.items()]
    table = pd.DataFrame(rows, columns=["split", "fold", "structure", "metric", "mean"])
    return table.reindex(columns=[*dict.fromkeys([*table.columns, *COLUMNS[1:-1]])])


def test_rows_are_those_out_of_fold_and_of_the_ensemble() -> None:
    table = collect_epochs({40: summary({"a": 0.9}), 20: summary({"a": 0.8})}, ["a"])
    assert [*table.columns] == COLUMNS
    dice = table[table["metric"] == "dice"]
    assert [*zip(dice["epoch"], dice["split"], dice["fold"], strict=True)] == [
        (20, "val", "pooled"),
        (40, "val", "pooled"),
        (20, "test", "ensemble"),
        (40, "test", "ensemble"),
    ]


def best_of(summaries: dict[int, pd.DataFrame], structures: list[str]) -> list[int]:
    table = collect_epochs(summaries, structures)
    return table.loc[table["best_on_val"], "epoch"].unique().tolist()


def test_the_best_is_best_out_of_fold_whatever_the_test_set_says() -> None:
    summaries = {
        20: summary({"a": 0.9, "b": 0.8}, test=0.1),
        40: summary({"a": 0.95, "b": 0.7}, test=0.99),
    }
    assert best_of(summaries, ["a", "b"]) == [20]


def test_a_union_does_not_count_twice() -> None:
    summaries = {
        20: summary({"a": 0.9, "b": 0.8, "both": 0.1}),
        40: summary({"a": 0.8, "b": 0.8, "both": 0.9}),
    }
    assert best_of(summaries, ["a", "b"]) == [20]


def test_of_equal_epochs_the_later_one_is_marked() -> None:
    same = {"a": 0.9}
    assert best_of({20: summary(same), 40: summary(same), 60: summary({"a": 0.8})}, ["a"]) == [40]


def test_structures_that_nobody_has_leave_nothing_to_mark() -> None:
    nan = float("nan")
    assert best_of({20: summary({"a": nan}), 40: summary({"a": nan})}, ["a"]) == []
