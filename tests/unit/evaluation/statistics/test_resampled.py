import numpy as np
import pytest
from scipy import stats

from crossfold.evaluation.statistics.resampled import corrected_t_test

OPTIONS = {"n_train": 80, "n_test": 20, "confidence": 0.95}


def test_it_claims_less_than_the_uncorrected_test() -> None:
    differences = np.array([0.01, 0.02, 0.015, 0.005, 0.012])
    corrected = corrected_t_test(differences, **OPTIONS)
    plain = stats.ttest_1samp(differences, 0)
    # Factor of the variance: 1/5 + 1/4 = 0.45 instead of 0.20.
    assert corrected.t == pytest.approx(plain.statistic * np.sqrt(0.20 / 0.45))
    assert corrected.p > plain.pvalue
    assert (corrected.k, corrected.df, corrected.note) == (5, 4, "")
    centre = (corrected.ci_low + corrected.ci_high) / 2
    assert centre == pytest.approx(corrected.mean) == pytest.approx(differences.mean())


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
@pytest.mark.parametrize("differences", [[], [0.1], [np.nan, 0.1], [np.inf, 0.1]])
def test_too_few_folds(differences: list[float]) -> None:
    result = corrected_t_test(np.array(differences), **OPTIONS)
    assert np.isnan([result.t, result.p, result.mean]).all()
    assert "needs two folds" in result.note
    assert ("folds left out: 1" in result.note) == (len(differences) == 2)


@pytest.mark.filterwarnings("error:::(crossfold|numpy|scipy|pandas)")
@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.1, np.nan)])
def test_the_same_difference_in_every_fold(difference: float, p: float) -> None:
    result = corrected_t_test(np.full(3, difference), **OPTIONS)
    np.testing.assert_equal(result.p, p)
    assert np.isnan([result.t, result.ci_low]).all()
    assert result.mean == pytest.approx(difference)
    assert result.note == "the difference is the same in every fold"
