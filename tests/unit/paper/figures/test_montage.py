from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from crossfold.evaluation.tables import read_metrics, write_metrics
from crossfold.paper import style
from crossfold.paper.figures import EmptyFigure, draw_figure
from crossfold.paper.figures.blocks import PLANES
from crossfold.paper.figures.montage import choose_subjects, draw
from tests.unit.paper.figures.layout import drawn_texts, problems
from tests.unit.paper.figures.pictures import make_pictures


def metrics(**dice: list[float]) -> pd.DataFrame:
    rows = [(subject, value) for subject, values in dice.items() for value in values]
    return pd.DataFrame(rows, columns=["subject", "dice"])


def test_best_median_and_worst_by_the_mean_over_structures() -> None:
    chosen = choose_subjects(
        metrics(a=[0.9, 0.5], b=[0.8, 0.8], c=[0.9, 0.9], d=[0.1, 0.3], e=[1, 0.0])
    )
    assert chosen["rank"].tolist() == ["best", "median", "worst"]
    assert chosen["subject"].tolist() == ["c", "a", "d"]
    assert chosen["n"].tolist() == [5, 5, 5]


def test_ties_go_by_name_and_nobody_is_shown_twice() -> None:
    assert choose_subjects(metrics(b=[0.5], a=[0.5]))["subject"].tolist() == ["a", "b"]
    assert choose_subjects(metrics(a=[0.5]))["rank"].tolist() == ["best"]


def test_a_subject_without_any_structure_has_no_rank() -> None:
    missing = float("nan")
    assert choose_subjects(metrics(a=[missing], b=[0.5]))["subject"].tolist() == ["b"]
    with pytest.raises(EmptyFigure, match="No subject has a Dice"):
        choose_subjects(metrics(a=[missing]))


@pytest.mark.parametrize(
    "made",
    [
        {"structures": 2},
        {"structures": 5, "long_names": True},
        {"structures": 25, "shape": (60, 60, 10)},
        {"structures": 25, "shape": (60, 60, 10), "long_names": True},
        {"subjects": 1, "structures": 1},
        {"shape": (40, 40, 1)},
        {"shape": (1, 30, 20)},
        {"shape": (20, 20, 60)},
        {"absent": (1, 2)},
        {"split": "val"},
    ],
    ids=str,
)
def test_everything_can_be_read(tmp_path: Path, made: dict) -> None:
    inputs, context = make_pictures(tmp_path, **made)
    with mpl.rc_context(style.parameters(context.config)):
        if made.get("absent"):
            with pytest.raises(EmptyFigure):
                draw(inputs, context)
            return
        figure, table = draw(inputs, context)
        assert problems(figure) == []
    assert figure.get_figwidth() * style.MM_PER_INCH == pytest.approx(180)
    assert table["split"].unique().tolist() == [made.get("split", "test")]


def test_the_table_says_which_slices_are_shown(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path)
    figure, table = draw(inputs, context)
    assert table["subject"].tolist() == [f"subject {n}" for n in range(3) for _ in PLANES]
    assert table["plane"].tolist() == [*PLANES] * 3
    assert len(figure.axes) == len(table)


def test_text_says_what_a_reader_has_to_know(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path)
    figure, table = draw(inputs, context)
    said = [text.get_text() for text in drawn_texts(figure)]
    assert said.count("synthetic data") == 3
    assert sum(text.endswith(" mm") for text in said) == 3
    assert said.count("R") == said.count("L") == 6
    assert "Best of 3: subject 0" in said
    assert any(f"{table['dice'].iloc[0]:.3f}" in text for text in said)
    assert "ensemble (full, dashed)" in said


def test_right_is_on_the_left_and_shapes_are_those_of_the_body(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path, shape=(32, 28, 12))
    figure, _ = draw(inputs, context)
    axial, coronal, sagittal = figure.axes[:3]
    assert all(axes.xaxis.get_inverted() for axes in (axial, coronal, sagittal))
    for axes in (axial, coronal, sagittal):
        width = axes.get_position().width * figure.get_figwidth() * style.MM_PER_INCH
        height = axes.get_position().height * figure.get_figheight() * style.MM_PER_INCH
        assert width == pytest.approx(max(axes.get_xlim()))
        assert height == pytest.approx(max(axes.get_ylim()))


def test_out_of_fold_subjects_are_shown_without_a_test_set(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path, split="val")
    fold = tmp_path / "folds" / "0" / "segmentations"
    fold.mkdir(parents=True)
    inputs["segmentations"][0].rename(fold / "val")
    figure, table = draw({**inputs, "segmentations": [str(fold)]}, context)
    assert table["split"].unique().tolist() == ["val"]
    assert "out of fold (full, dashed)" in [text.get_text() for text in drawn_texts(figure)]


def test_validation_rows_do_not_count_beside_a_test_set(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path)
    test = read_metrics(inputs["metrics"])
    others = test.assign(split="val", fold="0", subject="of the folds")
    both = pd.concat([test, others.drop_duplicates("structure")])
    write_metrics(inputs["metrics"], both)
    assert set(draw(inputs, context)[1]["subject"]) == {"subject 0", "subject 1", "subject 2"}


def test_a_missing_segmentation_is_named(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path)
    with pytest.raises(EmptyFigure, match="no segmentation of subject 0"):
        draw({**inputs, "segmentations": [tmp_path / "nowhere"]}, context)


def test_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    inputs, context = make_pictures(tmp_path / "made")
    for name in ("one", "two"):
        draw_figure("montage", inputs, context, tmp_path / name)
    for suffix in (".png", ".pdf", ".csv"):
        one, two = ((tmp_path / name).with_suffix(suffix) for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
