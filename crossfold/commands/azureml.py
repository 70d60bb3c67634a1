"""Runs on Azure Machine Learning, through the executor plugin where it is installed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossfold import paths
from crossfold.commands.local import label_of
from crossfold.registry.workspace import Connection

_TABLE = Path(paths.TRAINING).name


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which runs are meant.

    Parameters
    ----------
    experiment
        Name of an experiment; empty: the branch that is checked out.
    run_ids
        Names of runs, instead of an experiment.
    status
        States that are wanted; empty: the command's own choice.
    """

    experiment: str = ""
    run_ids: Sequence[str] = ()
    status: Collection[str] = ()


class Workspace:
    """The workspace that the profile, the environment or config.json names.

    Parameters
    ----------
    profile, sdk
        As for `Connection`, whose errors it raises.
    """

    def __init__(self, profile: Path, sdk: str = "") -> None:
        otherwise = "add --local for the runs of this folder"
        self._connection = Connection(profile, sdk, otherwise=otherwise)
        self._listing, self._monitor = map(self._connection.module, ("runs", "monitor"))

    def runs(self, choice: Choice) -> list[Any]:
        """The runs, as the plugin's `Run`; all of them where no status is chosen.

        Raises
        ------
        CrossfoldError
            If there is no such run or status, or the service refuses.
        """
        with self._connection.readable():
            return self._listing.list_runs(
                self._connection.client,
                experiment=choice.experiment,
                run_ids=choice.run_ids,
                status=choice.status or self._listing.STATES,
            )

    def sync(self, choice: Choice, folder: Path) -> tuple[list[str], dict[str, Path]]:
        """Bring event files and tables of runs up to date in ``folder/<run>/``.

        Failed and Canceled runs are left out unless their status is chosen.

        Returns
        -------
        names, tables
            The runs; and, by the label of its curves, every training.csv.

        Raises
        ------
        CrossfoldError
            As `runs`.
        """
        with self._connection.readable():
            jobs = self._listing.choose_jobs(
                self._connection.client,
                experiment=choice.experiment,
                run_ids=choice.run_ids,
                status=choice.status or self._listing.WORTH_WATCHING,
            )
            files = self._monitor.sync_events(
                self._connection.client,
                jobs,
                folder,
                settings=self._connection.settings,
                patterns=(self._monitor.EVENT_FILES, _TABLE),
            )
        tables: dict[str, Path] = {}
        for file in files:
            if file.name == _TABLE:
                job, *path = file.relative_to(folder).parts
                # What a run has brought back comes first, and replaces what it wrote on the way.
                tables.setdefault(f"{label_of(Path(*path))}/{job}", file)
        return [job.name for job in jobs], tables
