import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfold.evaluation.statistics.binary import compare_failures


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
@settings(deadline=None)
@given(st.tuples(*[st.integers(0, 30)] * 4).filter(sum), st.sampled_from([0.8, 0.95, 0.99]))
def test_interval_holds_the_difference_and_mirrors(
    counts: tuple[int, int, int, int], confidence: float
) -> None:
    failed_a = np.repeat([True, True, False, False], counts)
    failed_b = np.repeat([True, False, True, False], counts)
    there = compare_failures(failed_a, failed_b, confidence=confidence)
    back = compare_failures(failed_b, failed_a, confidence=confidence)
    assert -1 <= there.ci_low <= there.risk_difference <= there.ci_high <= 1
    assert there.ci_low < there.ci_high
    assert (there.ci_low, there.ci_high) == pytest.approx((-back.ci_high, -back.ci_low), abs=1e-6)
    assert there.p == pytest.approx(back.p)


def test_interval_covers_nominally_where_failures_are_rare() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        failed_a, failed_b = random.random(80) < 0.05, random.random(80) < 0.08
        result = compare_failures(failed_a, failed_b)
        covered += result.ci_low <= -0.03 <= result.ci_high
    assert covered / 300 == pytest.approx(0.95, abs=0.04)


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
def test_degenerate_input_is_explained() -> None:
    nothing = np.zeros(0, dtype=bool)
    assert compare_failures(nothing, nothing).note == "no pairs"
    assert np.isnan(compare_failures(nothing, nothing).p)
    never = compare_failures(np.zeros(9, dtype=bool), np.zeros(9, dtype=bool))
    assert (never.p, never.risk_difference) == (1.0, 0.0)
    assert never.note == "no subject in which only one run fails"
    always = compare_failures(np.ones(9, dtype=bool), np.zeros(9, dtype=bool))
    assert always.ci_high == 1
    assert 0 < always.ci_low < 1
