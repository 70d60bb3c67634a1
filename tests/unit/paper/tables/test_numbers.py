from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.paper.tables.macros import Macro, name_macros, spell, spell_exactly
from crossfold.paper.tables.numbers import decimals_of, p_value


@pytest.mark.parametrize(
    ("width", "decimals"), [(0.034, 3), (0.34, 2), (3.4, 1), (34, 0), (3400, 0), (1e-9, 4)]
)
def test_two_digits_of_the_width_of_the_interval(width: float, decimals: int) -> None:
    assert decimals_of([width], otherwise=7) == decimals


def test_without_an_interval_the_usual_decimals() -> None:
    assert decimals_of([math.nan, 0.0, math.inf], otherwise=2) == 2


@given(st.floats(0, 1), st.sampled_from([0.05, 0.01, 0.025]))
def test_a_written_p_is_never_on_the_other_side_of_alpha(p: float, alpha: float) -> None:
    written = p_value(p, alpha)
    if not written.startswith("<") and abs(p - alpha) > 1e-5:
        assert (float(written) < alpha) == (p < alpha)


names = st.text(min_size=1, max_size=12)


@given(names, names)
def test_exact_spelling_is_letters_and_tells_names_apart(first: str, second: str) -> None:
    spelt = spell_exactly(first)
    assert spelt.isascii()
    assert spelt.isalpha()
    assert (spelt == spell_exactly(second)) == (first == second)


@given(names)
def test_short_spelling_is_letters(name: str) -> None:
    assert spell(name).isascii()
    assert spell(name).isalpha()


def test_names_that_sound_alike_are_all_spelt_out() -> None:
    macros = [Macro("Dice", (name,), "0.9", "here") for name in ("femur_r", "femur-r", "liver_2")]
    assert [*name_macros(macros)] == [
        "cfDicefemurLowLiner",
        "cfDicefemurHyphenMinusr",
        "cfDiceLiverTwo",
    ]
