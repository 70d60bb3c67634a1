"""Values of R 4.2.2, coin and exactRankTests; beside each the call (`R>`) that made it."""

# ruff: noqa: ERA001 - the calls are not Python

import numpy as np
import pytest

from crossfold.evaluation.statistics.agreement import bland_altman
from crossfold.evaluation.statistics.binary import compare_failures
from crossfold.evaluation.statistics.families import adjust
from crossfold.evaluation.statistics.paired import PairedComparison, compare_paired
from crossfold.evaluation.statistics.ranks import friedman
from crossfold.evaluation.statistics.resampled import corrected_t_test
from crossfold.evaluation.statistics.unpaired import UnpairedComparison, compare_unpaired

# Hollander and Wolfe, Nonparametric statistical methods, examples 3.1 and 4.1, and table 7.1; the
# first two are in the examples of R's ?wilcox.test.
DEPRESSION = (
    [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30],
    [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29],
)
PERMEABILITY = (
    [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46],
    [1.15, 0.88, 0.90, 0.74, 1.21],
)
# fmt: off
FIRST_BASE = np.reshape([
    5.40, 5.50, 5.55, 5.85, 5.70, 5.75, 5.20, 5.60, 5.50, 5.55, 5.50, 5.40, 5.90, 5.85, 5.70, 5.45,
    5.55, 5.60, 5.40, 5.40, 5.35, 5.45, 5.50, 5.35, 5.25, 5.15, 5.00, 5.85, 5.80, 5.70, 5.25, 5.20,
    5.10, 5.65, 5.55, 5.45, 5.60, 5.35, 5.45, 5.05, 5.00, 4.95, 5.50, 5.50, 5.40, 5.45, 5.55, 5.50,
    5.55, 5.55, 5.35, 5.45, 5.50, 5.55, 5.50, 5.45, 5.25, 5.65, 5.60, 5.40, 5.70, 5.65, 5.55, 6.30,
    6.30, 6.25], (22, 3))
# Peak expiratory flow by two meters: Bland and Altman, Lancet 1986.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
TWENTY = [-0.662, 0.007, 0.559, -0.852, 0.496, 0.330, 0.385, 1.417, -0.919, 1.567, -0.445, -0.831,
          -0.416, 0.553, 0.452, -0.008, -0.653, -0.348, 1.524, 0.500]
# fmt: on
WITH_ZEROS = [3, 0, -1, 2, 2, 0, 5, -2, 4, 1, 0, 7, -1, 2]


def paired(a: object, b: object = 0.0) -> PairedComparison:
    a = np.asarray(a, dtype=float)
    b = np.broadcast_to(np.asarray(b, dtype=float), a.shape)
    return compare_paired(a, b, higher_is_better=True, confidence=0.95, resamples=999, seed=0)


def unpaired(a: object, b: object) -> UnpairedComparison:
    return compare_unpaired(
        np.asarray(a), np.asarray(b), higher_is_better=True, confidence=0.95, resamples=999, seed=0
    )


def test_signed_rank_exact() -> None:
    # R> wilcox.test(x, y, paired = TRUE, exact = TRUE, conf.int = TRUE)
    result = paired(*DEPRESSION)
    assert (result.statistic, result.method) == (40, "exact")
    assert result.p == pytest.approx(0.0390625)
    assert [result.estimate, result.ci_low, result.ci_high] == pytest.approx([0.46, 0.010, 0.786])


def test_signed_rank_exact_of_twenty() -> None:
    # R> wilcox.test(z, exact = TRUE, conf.int = TRUE)
    result = paired(TWENTY)
    assert result.statistic == 116
    assert result.p == pytest.approx(0.701181411743)
    assert [result.estimate, result.ci_low, result.ci_high] == pytest.approx(
        [0.06275, -0.2265, 0.496]
    )


def test_signed_rank_with_zeros_and_ties() -> None:
    # R> i <- wilcoxsign_test(d ~ rep(0, 14), zero.method = "Pratt", distribution = "exact")
    # R> statistic(i, "linear"); pvalue(i); w <- outer(d, d, "+") / 2; median(w[upper.tri(w, TRUE)])
    result = paired(WITH_ZEROS)
    assert (result.statistic, result.n_zero, result.method) == (80.5, 3, "exact")
    assert result.p == pytest.approx(0.0537109375)
    assert result.estimate == 1.5


def test_signed_rank_with_ties_without_zeros() -> None:
    # R> wilcox.exact(d[d != 0], conf.int = TRUE)
    result = paired([difference for difference in WITH_ZEROS if difference])
    assert result.statistic == 56.5
    assert result.p == pytest.approx(0.037109375)
    assert (result.ci_low, result.ci_high) == (0, 4)


def test_signed_rank_asymptotic() -> None:
    # R> wilcox.test(round(seq(-2, 3, length.out = 250)^3 + 0.37 * cos(1:250), 4), exact = FALSE,
    # R>             conf.int = TRUE); its interval is found by a root search, ours among averages.
    many = np.round(np.linspace(-2, 3, 250) ** 3 + 0.37 * np.cos(np.arange(1, 251)), 4)
    result = paired(many)
    assert (result.statistic, result.method) == (21315, "asymptotic")
    assert result.p == pytest.approx(8.81011992252e-07, rel=1e-9)
    assert [result.estimate, result.ci_low, result.ci_high] == pytest.approx(
        [1.48315079801, 0.649650690497, 2.60644476781], abs=2e-3
    )


def test_rank_sum_exact() -> None:
    # R> wilcox.test(x, y, exact = TRUE, conf.int = TRUE)
    result = unpaired(*PERMEABILITY)
    assert (result.statistic, result.method) == (35, "exact")
    assert result.p == pytest.approx(0.254412254412)
    assert [result.estimate, result.ci_low, result.ci_high] == pytest.approx([0.305, -0.15, 0.76])


@pytest.mark.parametrize(
    ("a", "b", "statistic", "p"),
    [
        # R> a <- c(3, 5, 5, 7, 8, 8, 9, 10); b <- c(1, 2, 3, 3, 4, 5, 6, 5, 7); wilcox.exact(a, b)
        ([3, 5, 5, 7, 8, 8, 9, 10], [1, 2, 3, 3, 4, 5, 6, 5, 7], 59.5, 0.0216371863431),
        # R> pvalue(wilcox_test(c(1, 1, 1, 2, 9, 1, 3, 3, 3, 3, 4, 4) ~
        # R>        factor(rep(c("a", "b"), c(5, 7))), distribution = "exact"))
        ([1, 1, 1, 2, 9], [1, 3, 3, 3, 3, 4, 4], 9.5, 0.155303030303),
    ],
)
def test_rank_sum_exact_with_ties(
    a: list[float], b: list[float], statistic: float, p: float
) -> None:
    result = unpaired(a, b)
    assert (result.statistic, result.method) == (statistic, "exact")
    assert result.p == pytest.approx(p)


def test_rank_sum_asymptotic() -> None:
    # R> x <- round(sin(1:60) * 3, 3); y <- round(cos(1:55) * 3 + .5, 3)
    # R> wilcox.test(x, y, exact = FALSE)
    # R> wilcox.test(x, y, exact = TRUE, conf.int = TRUE) for estimate and interval
    x = np.round(np.sin(np.arange(1, 61)) * 3, 3)
    y = np.round(np.cos(np.arange(1, 56)) * 3 + 0.5, 3)
    result = unpaired(x, y)
    assert (result.statistic, result.method) == (1440, "asymptotic")
    assert result.p == pytest.approx(0.240805907235)
    assert [result.estimate, result.ci_low, result.ci_high] == pytest.approx(
        [-0.4215, -0.983, 0.37]
    )


def test_families() -> None:
    p = [0.001, 0.04, 0.03, 0.2, 0.012, 0.04]
    # R> p.adjust(p, "holm")
    assert adjust(p, "holm") == pytest.approx([0.006, 0.12, 0.12, 0.2, 0.06, 0.12])
    # R> p.adjust(p, "BH")
    assert adjust(p, "fdr_bh") == pytest.approx([0.006, 0.048, 0.048, 0.2, 0.036, 0.048])


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (2, 9, 0.0654296875),  # binom.test(2, 11)
        (1, 7, 0.0703125),  # binom.test(1, 8)
        (5, 5, 1.0),  # binom.test(5, 10)
    ],
)
def test_mcnemar_exact(only_a: int, only_b: int, p: float) -> None:
    failed_a = [True] * only_a + [False] * only_b + [True] * 3
    failed_b = [False] * only_a + [True] * only_b + [True] * 3
    assert compare_failures(np.array(failed_a), np.array(failed_b)).p == pytest.approx(p)


def test_friedman() -> None:
    # R> f <- friedman.test(t(matrix(x, 3))); colMeans(t(apply(t(matrix(x, 3)), 1, rank)))
    result = friedman(FIRST_BASE)
    assert (result.n, result.k) == (22, 3)
    assert result.chi2 == pytest.approx(11.1428571429)
    assert result.p == pytest.approx(0.00380504077551)
    assert result.mean_ranks == pytest.approx([2.40909090909, 2.13636363636, 1.45454545455])
    # R> F <- 21 * f$statistic / (22 * 2 - f$statistic); pf(F, 2, 42, lower.tail = FALSE)
    assert result.iman_davenport_f == pytest.approx(7.12173913043)
    assert result.p_iman_davenport == pytest.approx(0.00217129838761)


def test_limits_of_agreement() -> None:
    # R> d <- wright - mini; s <- sd(d); t.test(d)$conf.int; mean(d) + c(-1, 1) * qnorm(.975) * s
    # R> qt(.975, 16) * s * sqrt(1 / 17 + qnorm(.975)^2 / 32)
    # R> summary(lm(d ~ I((wright + mini) / 2)))$coefficients[2, c(1, 4)]
    result = bland_altman(np.array(MINI), np.array(WRIGHT), confidence=0.95, scale="auto")
    assert (result.n, result.scale) == (17, "raw")
    assert result.bias == pytest.approx(-2.11764705882)
    assert result.bias_ci_low == pytest.approx(-22.0488376966)
    assert result.bias_ci_high == pytest.approx(17.813543579)
    assert result.loa_low == pytest.approx(-78.0959054671)
    assert result.loa_high == pytest.approx(73.8606113495)
    assert result.loa_low - result.loa_low_ci_low == pytest.approx(34.7556476722)
    assert result.loa_high_ci_high - result.loa_high == pytest.approx(34.7556476722)
    assert (result.slope, result.slope_p) == pytest.approx((0.0286874451525, 0.749498533649))


def test_corrected_resampled_t() -> None:
    # R> se <- sqrt((1 / 5 + 20 / 80) * var(x)); t <- mean(x) / se; 2 * pt(-t, 4)
    # R> mean(x) + c(-1, 1) * qt(.975, 4) * se
    differences = np.array([0.01, 0.02, 0.015, 0.0, 0.012])
    result = corrected_t_test(differences, n_train=80, n_test=20, confidence=0.95)
    assert (result.t, result.p) == pytest.approx((2.29566395465, 0.0833357094753))
    assert result.ci_low == pytest.approx(-0.00238750323412)
    assert result.ci_high == pytest.approx(0.0251875032341)
