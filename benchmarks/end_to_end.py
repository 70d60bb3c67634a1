"""Models of config.yaml from raw files to metrics: accuracy, wall time, memory, worst cases.

    CROSSFOLD_DATA=/folder python -m benchmarks.end_to_end Hippocampus ProstateMR [--cores 2]

Every model runs in an empty copy of the workflow, under --folder (default: a temporary one), one
after the other. The wall time is that of the whole `snakemake` command.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.machine import copy_workflow, describe
from crossfold.evaluation.tables import read_metrics

WORST = 5


def run(model: str, folder: Path, cores: int) -> float:
    """Run one model to its metrics and return the wall time in seconds."""
    copy_workflow(folder)
    results = folder / "results" / model
    targets = [
        f"results/{model}/{name}" for name in ("ensemble_metrics.csv", "metrics_summary.csv")
    ]
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *targets]
    started = time.perf_counter()
    with (folder / "run.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=True)
    assert (results / "ensemble_metrics.csv").is_file()
    return time.perf_counter() - started


def accuracy(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice of each structure: pooled out of fold, members and ensemble on the test set."""
    test = metrics[metrics["split"] == "test"]
    columns = {
        "out of fold": metrics[metrics["split"] == "val"],
        "members, test": test[test["fold"] != "ensemble"],
        "ensemble, test": test[test["fold"] == "ensemble"],
    }
    means = {
        name: rows.groupby("structure", sort=False)["dice"].mean() for name, rows in columns.items()
    }
    table = pd.DataFrame(means)
    parts = metrics.loc[metrics["label"].notna(), "structure"].unique()
    table.loc["mean of structures"] = table.loc[parts].mean()
    return table


def folds(folder: Path, model: str) -> pd.DataFrame:
    """Wall time, CPU time and memory of the training of each fold."""
    files = sorted((folder / "logs" / "train_fold").glob(f"{model}_*.benchmark.tsv"))
    rows = pd.concat([pd.read_csv(file, sep="\t") for file in files], ignore_index=True)
    rows = rows.rename(
        columns={"s": "wall (s)", "cpu_time": "CPU (s)", "max_rss": "peak RSS (MiB)"}
    )
    return rows[["wall (s)", "CPU (s)", "peak RSS (MiB)"]].rename_axis("fold")


def worst_cases(metrics: pd.DataFrame) -> pd.DataFrame:
    """Subjects with the lowest mean Dice out of fold, and what is peculiar about them."""
    rows = metrics[(metrics["split"] == "val") & metrics["label"].notna()]
    dice = rows.pivot(index="subject", columns="structure", values="dice")
    volume = rows.pivot(index="subject", columns="structure", values="volume_ref_ml")
    worst = dice.mean(axis=1).nsmallest(WORST).index
    table = dice.loc[worst].add_prefix("Dice ").round(3)
    table = table.join(volume.add_suffix(" (ml)").round(1))
    spacing = rows.groupby("subject")[["spacing_x_mm", "spacing_z_mm"]].first().round(3)
    return table.join(spacing)


def main() -> None:
    """Run the models and print their tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for model in options.models:
            folder = (options.folder or Path(temporary)) / model
            folder.mkdir(parents=True)
            seconds = run(model, folder, options.cores)
            metrics = read_metrics(folder / "results" / model / "metrics.csv")
            counts = metrics.groupby("split")["subject"].nunique()
            print(
                f"\n### {model}\n\n{seconds / 60:.1f} minutes wall on {options.cores} cores from "
                f"raw files; {counts.get('val', 0)} subjects in {metrics['fold'].nunique() - 1} "
                f"folds, {counts.get('test', 0)} in the test set\n"
            )
            print(accuracy(metrics).round(4).to_markdown(), end="\n\n")
            print(folds(folder, model).round(1).to_markdown(), end="\n\n")
            print(f"Worst {WORST} out of fold:\n\n{worst_cases(metrics).to_markdown()}", flush=True)


if __name__ == "__main__":
    main()
