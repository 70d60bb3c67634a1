"""Values that were printed in papers and textbooks, or follow from their formulas by hand."""

import numpy as np
import pytest

from crossfold.evaluation.statistics.agreement import bland_altman
from crossfold.evaluation.statistics.binary import compare_failures
from crossfold.evaluation.statistics.resampled import corrected_t_test

# fmt: off
# Peak expiratory flow (l/min) by two meters: Bland and Altman, Lancet 1986, table 1.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# fmt: on


def test_limits_of_agreement_of_peak_flow_meters() -> None:
    # Printed: mean difference -2.1, standard deviation 38.8, limits of -79.7 and 75.5 with two
    # standard deviations, where we take 1.96.
    result = bland_altman(np.array(MINI), np.array(WRIGHT), confidence=0.95, scale="raw")
    deviation = (result.loa_high - result.bias) / 1.959964
    assert (result.bias, deviation) == pytest.approx((-2.1, 38.8), abs=0.05)
    limits = [result.bias - 2 * deviation, result.bias + 2 * deviation]
    assert limits == pytest.approx([-79.7, 75.5], abs=0.1)


def test_paired_proportions() -> None:
    # Response before and after consolidation (Cavo et al. 2012) in Fagerland, Lydersen and Laake,
    # Statistical analysis of contingency tables, chapter 8, and their R package contingencytables:
    # Tango_asymptotic_score_CI_paired_2x2(cavo_2012): -0.0621 (95% CI -0.1240 to -0.0054)
    # McNemar_exact_cond_test_paired_2x2(cavo_2012): P = 0.052479
    before = np.repeat([True, True, False, False], [59, 6, 16, 80])
    after = np.repeat([True, False, True, False], [59, 6, 16, 80])
    result = compare_failures(before, after)
    assert (result.n, result.failed_a, result.failed_b) == (161, 65, 75)
    assert result.risk_difference == pytest.approx(-0.0621, abs=5e-5)
    assert (result.ci_low, result.ci_high) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert result.p == pytest.approx(0.052479, abs=5e-7)


def test_interval_of_rates_that_never_differ() -> None:
    # Tango 1998, without discordant pairs: the ends are +- z^2 / (n + z^2).
    result = compare_failures(np.zeros(30, dtype=bool), np.zeros(30, dtype=bool))
    assert (result.ci_low, result.ci_high) == pytest.approx((-0.113513, 0.113513), abs=1e-6)


def test_corrected_resampled_t_by_hand() -> None:
    # Nadeau and Bengio 2003: four folds of 15 train and 5 test subjects. Differences 1, 3, 1, 3:
    # mean 2, variance 4 / 3, factor 1 / 4 + 5 / 15 = 7 / 12, t = 2 / sqrt(7 / 9) = 6 / sqrt(7).
    result = corrected_t_test(np.array([1.0, 3, 1, 3]), n_train=15, n_test=5, confidence=0.95)
    assert (result.mean, result.df) == (2, 3)
    assert result.t == pytest.approx(6 / np.sqrt(7))
