import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crossfold.config.figures import FiguresConfig
from crossfold.paper import style
from crossfold.paper.figures import Context
from tests.unit.paper.figures.layout import problems

CONFIG = FiguresConfig()


def context(*runs: str) -> Context:
    return Context(runs[0], ("a",), "val", runs, {runs[0]: "#123456"}, CONFIG)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0004, "p < 0.001"),
        (0.0123, "p = 0.012"),
        (0.34, "p = 0.34"),
        (1.0, "p > 0.99"),
        (float("nan"), ""),
    ],
)
def test_p_is_printed_with_the_digits_that_matter(p: float, text: str) -> None:
    assert style.p_text(p) == text


@pytest.mark.parametrize("text", ["seminalvesicles", "left_superior_temporal_gyrus", "− Run 1"])
def test_text_is_measured_as_it_is_drawn(text: str) -> None:
    with mpl.rc_context(style.parameters(CONFIG)):
        figure = Figure(dpi=720)
        drawn = figure.text(0, 0, text, fontsize=6)
        width = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width
    assert style.text_width_mm(text, 6) == pytest.approx(width / 720 * 25.4, rel=0.04)


def test_a_long_name_is_broken_where_names_break_and_then_shortened() -> None:
    assert style.wrap("temporal_gyrus_left", 15, 6, max_lines=3) == "temporal_\ngyrus_left"
    short = style.wrap("pneumonoultramicroscopic", 12, 6, max_lines=3)
    assert "…" in short
    assert style.text_width_mm(short, 6) <= 12
    lines = style.wrap("a_b " * 40, 12, 6, max_lines=2).split("\n")
    assert len(lines) == 2
    assert all(style.text_width_mm(line, 6) <= 12 for line in lines)


def test_a_figure_is_never_higher_than_a_page() -> None:
    figure = style.new_figure(CONFIG, columns=2, height_mm=400)
    assert figure.get_figheight() * 25.4 == pytest.approx(170)
    assert figure.get_figwidth() * 25.4 == pytest.approx(180)


def test_structures_have_a_pair_of_colour_and_marker_of_their_own() -> None:
    names = [str(i) for i in range(56)]
    assert len({style.structure_style(name, names) for name in names}) == 56


def test_runs_keep_their_colour_and_differ_in_marker_too() -> None:
    runs = context(*(f"run {i}" for i in range(8)))
    assert style.colour_of("run 0", runs) == "#123456"
    assert len({style.marker_of(run, runs) for run in runs.runs}) == 8


def test_a_sentence_is_readable_however_long_it_is() -> None:
    figure = style.sentence("Nobody named another run, so nothing is compared. " * 6, CONFIG)
    assert problems(figure) == []


def test_a_legend_stays_on_the_page() -> None:
    with mpl.rc_context(style.parameters(CONFIG)):
        figure = style.new_figure(CONFIG, columns=1, height_mm=100)
        figure.subplots().plot([1, 2])
        handles = [Line2D([], [], label=f"a_structure_with_a_name_{i}" * 2) for i in range(9)]
        style.legend(figure, handles, CONFIG, title="Difference (ml)\n$ and $ are dollars")
        assert problems(figure) == []


def test_the_checker_sees_what_it_is_there_for() -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.99, 0.2, "cut off")
    figure.subplots()
    found = " ".join(problems(figure))
    assert "overlap: 'one' and 'two'" in found
    assert "leaves the canvas: 'cut off'" in found
    assert "empty panel 0" in found
