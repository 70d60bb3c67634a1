import numpy as np
import pytest

from crossfold.evaluation.statistics.families import adjust


@pytest.mark.parametrize("method", ["holm", "fdr_bh"])
def test_what_could_not_be_tested_stays_unknown_and_does_not_count(method: str) -> None:
    adjusted = adjust([0.01, np.nan, 0.04, 0.03], method)
    assert np.isnan(adjusted).tolist() == [False, True, False, False]
    np.testing.assert_allclose(adjusted[[0, 2, 3]], adjust([0.01, 0.04, 0.03], method))


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
@pytest.mark.parametrize("p", [[], [np.nan], [0.2]])
def test_families_of_none_and_one(p: list[float]) -> None:
    np.testing.assert_array_equal(adjust(p, "holm"), p)


def test_the_argument_is_left_alone() -> None:
    p = np.array([0.01, 0.02])
    assert adjust(p, "holm").tolist() == [0.02, 0.02]
    assert p.tolist() == [0.01, 0.02]
