"""Snakemake, called by a command of Crossfold."""

from __future__ import annotations

import os
import re
import signal
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


def submit(
    rule: str, *, snakefile: Path, profile: Path, settings: Sequence[str], root: Path = Path()
) -> None:
    """Run a rule of a workflow of its own where a profile says; the user sees what becomes of it.

    Parameters
    ----------
    rule
        Its name.
    snakefile
        The workflow.
    profile
        Folder of the Snakemake profile.
    settings
        What the workflow finds in `config`, such as "sent=folder".
    root
        The checkout.

    Raises
    ------
    CrossfoldError
        If the job fails.
    KeyboardInterrupt
        When Snakemake has cancelled the job.
    """
    command = [sys.executable, "-m", "snakemake", rule, "--snakefile", str(snakefile)]
    # Who was killed leaves a lock behind, and a job that the same command picks up.
    command += ["--profile", str(profile), "--cores", "1", "--nolock", "--nocolor"]
    command += ["--config", *settings]
    # A session of its own: Ctrl-C is to reach it once, and from here.
    with subprocess.Popen(command, cwd=root, start_new_session=True) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
    if code:
        raise CrossfoldError(
            f"{rule} failed on {profile}",
            remedy="mend what is said above, and give the same command again",
        )


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
