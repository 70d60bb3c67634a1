"""Snakemake, called by a command of Crossfold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crossfold.errors import CrossfoldError

_LINES_OF_AN_ERROR = 15


def planned_jobs(
    targets: Sequence[str], *, configfiles: Sequence[Path] = (), root: Path = Path()
) -> dict[str, int]:
    """Return how many jobs of each rule Snakemake would run; nothing is run.

    Raises
    ------
    CrossfoldError
        If there is no plan: the configuration is wrong, or an input is missing.
    """
    said = _snakemake(targets, ["--dry-run", "--quiet", "rules"], configfiles, root)
    table = said.partition("Job stats:")[2]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
    jobs.pop("total", None)
    return jobs


def make(
    targets: Sequence[str],
    *,
    configfiles: Sequence[Path] = (),
    root: Path = Path(),
    cores: int = 1,
    inside_a_job: bool = False,
    settings: Sequence[str] = (),
    show: bool = False,
) -> None:
    """Make targets that are not up to date.

    Parameters
    ----------
    targets
        Files or rules.
    configfiles
        Configurations, the strongest last.
    root
        The checkout.
    cores
        Number of cores.
    inside_a_job
        Whether a Snakemake that has locked the checkout waits for this one.
    settings
        What overrides the configuration, such as "state_dir=.state".
    show
        Whether the user sees what Snakemake says.

    Raises
    ------
    CrossfoldError
        If a job fails.
    """
    options = [*([] if show else ["--quiet", "all"]), "--cores", str(cores)]
    options += ["--nolock"] if inside_a_job else []
    options += ["--config", *settings] if settings else []
    _snakemake(targets, options, configfiles, root, show=show)


def _snakemake(
    targets: Sequence[str],
    options: Sequence[str],
    configfiles: Sequence[Path],
    root: Path,
    *,
    show: bool = False,
) -> str:
    configuration = ["--configfile", *map(str, configfiles)] if configfiles else []
    done = subprocess.run(
        # The targets first, because several options take all words that follow.
        [sys.executable, "-m", "snakemake", *targets, "--nocolor", *options, *configuration],
        cwd=root,
        # A profile of the user may send jobs elsewhere; what is called here is for this machine.
        env={name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"},
        stdout=None if show else subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        said = ((done.stderr or "").strip() or (done.stdout or "").strip()).splitlines()
        raise CrossfoldError(
            "\n".join([f"Snakemake failed in {root.resolve()}", *said[-_LINES_OF_AN_ERROR:]]),
            remedy="mend that; `snakemake` with the same target shows all of it",
        )
    return (done.stdout or "") + (done.stderr or "")
