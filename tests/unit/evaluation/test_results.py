import pandas as pd
import pytest

from crossfold.evaluation.results import result_rows


@pytest.mark.parametrize(
    ("split", "folds", "chosen"),
    [
        ("val", ["0", "1"], ["0", "1"]),
        ("test", ["0", "1", "ensemble"], ["ensemble"]),
        ("test", ["0"], ["0"]),
        ("test", [""], [""]),
        ("test", ["ensemble"], ["ensemble"]),
        ("test", ["0", "1"], []),
        ("test", [], []),
    ],
)
def test_the_rows_that_are_the_result(split: str, folds: list[str], chosen: list[str]) -> None:
    other = {"val": "test", "test": "val"}[split]
    rows = pd.DataFrame(
        [(split, fold) for fold in folds] + [(other, "ensemble")], columns=["split", "fold"]
    )
    assert result_rows(rows, split)["fold"].tolist() == chosen
