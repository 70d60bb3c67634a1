"""A copy of Crossfold in an empty folder, and Snakemake in it as a user runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests" / "configs" / "tiny.yaml"
METRICS = "results/Tiny/ensemble_metrics.csv"
SEARCH = "results/Tiny/search.csv"
# What a run needs: an overlay of the configuration may name everything else.
NEEDED = (
    *("Snakefile", "config.yaml", ".dvcignore"),
    *("rules", "scripts", "crossfold", "envs", "report", "azureml", "slurm"),
)
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


@dataclass(frozen=True)
class Run:
    """What a call of Snakemake gave."""

    code: int
    output: str
    errors: str

    @property
    def jobs(self) -> dict[str, int]:
        """Number of planned jobs per rule."""
        # A dry run prints its plan, a real one reports it among its messages.
        said = self.output + self.errors
        table = said.partition("Job stats:")[2].partition("\n\n")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
        jobs.pop("total", None)
        return jobs


@dataclass(frozen=True)
class Checkout:
    """A copy of what git has of Crossfold, in an empty folder."""

    folder: Path
    variables: dict[str, str]

    def command(self, *arguments: str | Path) -> list[str]:
        return [str(SNAKEMAKE), "--cores", "2", "--nocolor", *map(str, arguments)]

    def snakemake(self, *arguments: str | Path) -> Run:
        return self.run(self.command(*arguments))

    def run(self, command: list[str]) -> Run:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            # Pytest's own, and those that the paths of datasets name.
            if not name.startswith(("PYTEST_", "CROSSFOLD_", "SNAKEMAKE_"))
        }
        return inherited | self.variables

    def running_states(self, training: str = "") -> list[Path]:
        """States of trainings that have not ended, below a folder of `.state`.

        Files may be renamed while it looks, which `Path.rglob` does not survive.
        """
        return [
            Path(folder, "state.pt")
            for folder, _, names in os.walk(self.folder / ".state" / training)
            if "state.pt" in names and "finished" not in Path(folder).parts
        ]

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        return file


def without_search(checkout: Checkout) -> Checkout:
    """Take away a search and the state of its trials; the model itself stays."""
    for name in (SEARCH, "results/Tiny/search.html"):
        (checkout.folder / name).unlink()
    shutil.rmtree(checkout.folder / "results/Tiny/search")
    return checkout


def search_of(checkout: Checkout) -> pd.DataFrame:
    """The table of a search without what depends on the machine."""
    return pd.read_csv(checkout.folder / SEARCH, dtype=str).drop(columns="seconds")


def copy_checkout(folder: Path, **variables: str) -> Checkout:
    folder.mkdir()
    for name in NEEDED:
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy2(source, folder / name)
    return Checkout(folder, variables)
