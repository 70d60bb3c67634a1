from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

from crossfold.evaluation.outliers.find import OUTLIER_COLUMNS
from crossfold.evaluation.tables import write_table
from crossfold.paper import style
from crossfold.paper.figures import Context, EmptyFigure
from crossfold.paper.figures.outlier_montage import choose_reasons, draw, reasons_in_words
from tests.unit.paper.figures.layout import drawn_texts, problems
from tests.unit.paper.figures.pictures import make_pictures


def outliers(*rows: dict[str, Any]) -> pd.DataFrame:
    shared = dict.fromkeys(OUTLIER_COLUMNS, "") | {"split": "test", "fold": "ensemble"}
    shared |= {"reason": "worst", "class": "rank", "metric": "dice", "value": 0.2, "unit": "1"}
    return pd.DataFrame([shared | row for row in rows], columns=OUTLIER_COLUMNS)


def made(folder: Path, rows: list[dict[str, Any]], **options: Any) -> tuple[dict, Context]:
    inputs, context = make_pictures(folder, **options)
    write_table(folder / "outliers.csv", outliers(*rows))
    return {**inputs, "outliers": folder / "outliers.csv"}, context


def test_hard_reasons_come_first_then_the_lowest_dice() -> None:
    hard = {"class": "hard", "reason": "missed", "structure": "bladder"}
    chosen = choose_reasons(
        outliers(
            {"subject": "a", "rank": 1},
            {"subject": "b", "rank": 10} | hard,
            {"subject": "c", "rank": 9} | hard,
            {"subject": "d", "rank": 3, "class": "statistical"},
            {"subject": "e", "rank": 2, "fold": "0"},
            {"subject": "f", "rank": 2, "split": "val"},
        ),
        "test",
    )
    assert chosen["subject"].tolist() == ["c", "b", "a"]


def test_reasons_are_written_with_structures_and_values() -> None:
    hard = {"class": "hard", "reason": "missed"}
    words = reasons_in_words(
        outliers(
            hard | {"structure": "bladder", "value": 0.0},
            hard | {"structure": "rectum", "value": 0.0},
            {"reason": "remote_component", "structure": "rectum", "metric": "x", "value": 41.26}
            | {"unit": "mm"},
            {"structure": ""},
        )
    )
    assert words == (
        "Missed: bladder, rectum; remote component: rectum 41.3 mm; among the lowest mean Dice"
    )


@pytest.mark.parametrize("subjects", [1, 2, 6, 9])
def test_at_most_six_subjects_which_can_be_read(tmp_path: Path, subjects: int) -> None:
    rows = [{"subject": f"subject {number}", "rank": number} for number in range(subjects)]
    rows += [
        {"subject": "subject 0", "class": "hard", "reason": reason, "structure": "organ_1"}
        for reason in ("extra_components", "left_right_swap", "truncated_at_border")
    ]
    inputs, context = made(tmp_path, rows, subjects=subjects)
    with mpl.rc_context(style.parameters(context.config)):
        figure, table = draw(inputs, context)
        assert problems(figure) == []
    assert table["subject"].nunique() == min(subjects, 6)
    said = [text.get_text() for text in drawn_texts(figure)]
    assert f"1 of {subjects}: subject 0" in said
    assert any(text.startswith("Extra components: organ_1; left right swap") for text in said)


def test_nobody_is_listed(tmp_path: Path) -> None:
    inputs, context = made(tmp_path, [])
    with pytest.raises(EmptyFigure, match="No subject is an outlier"):
        draw(inputs, context)
