"""The metrics of an ensemble on the terminal: `python -m crossfold.paper.tables FILE`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from crossfold.evaluation.tables import read_metrics

# Column of the metrics, and how it is headed and written.
SHOWN = {
    "dice": ("Dice", "{:.3f}"),
    "nsd": ("NSD", "{:.3f}"),
    "hd95_mm": ("HD95 (mm)", "{:.1f}"),
    "assd_mm": ("ASSD (mm)", "{:.2f}"),
    "volume_diff_ml": ("volume difference (ml)", "{:+.1f}"),
}


def metrics_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the medians over subjects as text, one row per structure, failures counted.

    Parameters
    ----------
    metrics
        Table of metrics of one model and fold.
    """
    rows = {}
    for structure, group in metrics.groupby("structure", sort=False):
        present = group[group["state"] != "true_absent"]
        row = {"subjects": str(len(present)), "mean Dice": f"{present['dice'].mean():.3f}"}
        for column, (title, form) in SHOWN.items():
            row[f"median {title}"] = form.format(present[column].median())
        row["failed"] = str((present["state"] != "ok").sum())
        rows[structure] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("structure")


def print_metrics(path: Path) -> None:
    """Print the table of an ensemble's metrics, and where its files are."""
    metrics = read_metrics(path)
    first = metrics.iloc[0]
    data = f"{first['dataset']} (SYNTHETIC DATA)" if first["synthetic"] else first["dataset"]
    print(f"\n{first['model']} on {data}: ensemble on the test subjects\n")
    print(metrics_table(metrics).to_string())
    print(f"\n  {path}  metrics of every subject and structure")
    for name, what in (
        ("ensemble/segmentations", "segmentations, on the grids of the images"),
        ("ensemble/posteriors", "posteriors"),
        ("folds", "checkpoints, predictions and metrics of every fold"),
        ("dataset_report.html", "what was checked in the data"),
    ):
        if (path.parent / name).exists():
            print(f"  {path.parent / name}  {what}")
