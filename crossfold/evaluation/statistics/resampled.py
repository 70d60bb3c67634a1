"""Claims about a method rather than about its trained models: the corrected resampled t-test."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class CorrectedTTest:
    """Of k differences, one per fold; NaN: unknown."""

    k: int
    mean: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    t: float = np.nan
    df: int = 0
    p: float = np.nan
    note: str = ""


def corrected_t_test(
    differences: NDArray[np.float64], *, n_train: int, n_test: int, confidence: float
) -> CorrectedTTest:
    """Test the mean of the differences of k folds, which share training subjects.

    Nadeau and Bengio, Inference for the generalization error, Machine Learning 2003: the variance
    of the mean is (1 / k + n_test / n_train) times that of the differences, as folds are not
    independent.

    Parameters
    ----------
    differences
        Shape (k,): of the mean metric of two methods, trained and tested on the same folds. Folds
        with NaN or an infinite value are left out.
    n_train, n_test
        Number of subjects of one fold.
    confidence
        Of the interval, as a fraction.
    """
    differences = np.asarray(differences, dtype=float)
    usable = np.isfinite(differences)
    notes = [] if usable.all() else [f"folds left out: {np.sum(~usable)}"]
    differences = differences[usable]
    k = differences.size
    if k < 2 or n_train < 1:
        return CorrectedTTest(k, note="; ".join([*notes, "needs two folds and training subjects"]))
    result = CorrectedTTest(k, mean=float(differences.mean()), df=k - 1, note="; ".join(notes))
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        notes.append("the difference is the same in every fold")
        p = np.nan if differences.any() else 1.0
        return replace(result, p=p, note="; ".join(notes))
    error = np.sqrt((1 / k + n_test / n_train) * differences.var(ddof=1))
    margin = stats.t.isf((1 - confidence) / 2, k - 1) * error
    t = result.mean / error
    return replace(
        result,
        ci_low=float(result.mean - margin),
        ci_high=float(result.mean + margin),
        t=float(t),
        p=float(2 * stats.t.sf(abs(t), k - 1)),
    )
