"""Results of several epochs of one model, side by side."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from crossfold.evaluation.results import result_rows

COLUMNS = [
    *("epoch", "model", "split", "fold", "structure", "metric", "unit"),
    *("n", "n_absent", "n_missed", "n_hallucinated", "mean", "median"),
    *("ci_statistic", "ci_low", "ci_high", "best_on_val"),
]


def collect_epochs(
    summaries: Mapping[int, pd.DataFrame], structures: Collection[str]
) -> pd.DataFrame:
    """Put the summaries of several epochs into one table.

    `best_on_val` marks the epoch with the highest Dice out of fold: the mean over structures of
    their means over subjects, a tie going to the later epoch. Nothing is chosen by it, and the test
    set has no part in it.

    Parameters
    ----------
    summaries
        metrics_summary.csv by epoch.
    structures
        Structures whose Dice counts: unions of them would count twice.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`: all subjects out of fold (`fold` is `pooled`), then the test set as
        the ensemble predicts it.
    """
    parts = [
        result_rows(summary, split).assign(epoch=epoch)
        for split in ("val", "test")
        for epoch, summary in sorted(summaries.items())
    ]
    table = pd.concat(parts, ignore_index=True)
    dice = table[
        (table["split"] == "val")
        & (table["metric"] == "dice")
        & table["structure"].isin([*structures])
    ]
    means = dice.groupby("epoch")["mean"].mean().dropna()
    best = means.index[means == means.max()].max()
    return table.assign(best_on_val=table["epoch"] == best)[COLUMNS]
