"""Which jobs there are, for people: chosen by experiment, name and status."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.client import Client, connect
from snakemake_executor_plugin_azureml.client.retrying import Patience
from snakemake_executor_plugin_azureml.credentials import find_credential
from snakemake_executor_plugin_azureml.jobs import TERMINAL, WAITING, JobInfo
from snakemake_executor_plugin_azureml.ordering import name_experiment
from snakemake_executor_plugin_azureml.settings import ExecutorSettings
from snakemake_executor_plugin_azureml.workspace import find_workspace

if TYPE_CHECKING:
    from snakemake_executor_plugin_azureml.client import Sdk
    from snakemake_executor_plugin_azureml.credentials import Login

STATES = TERMINAL | WAITING | {"Running", "Finalizing", "CancelRequested", "NotResponding"}
"""What a status may be."""

WORTH_WATCHING = STATES - {"Failed", "Canceled", "CancelRequested"}
"""Statuses of jobs whose curves say something."""

_OPTION = "azureml-"
# Somebody is looking at the terminal.
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """A job in a list.

    Attributes
    ----------
    age_s
        Seconds since it was submitted; None where the service does not say.
    compute
        Name of the cluster; empty where it is serverless.
    url
        The job's page in the portal.
    """

    name: str
    display_name: str
    state: str
    age_s: float | None
    compute: str
    experiment: str
    url: str


def read_settings(profile: Path | None = None, **changed: str) -> ExecutorSettings:
    """The settings of a Snakemake profile, so that what reads runs looks where they were sent.

    Parameters
    ----------
    profile
        Its YAML file; the defaults if None.
    changed
        Settings that replace those of the profile, unless they are empty.

    Raises
    ------
    WorkflowError
        If the file cannot be read or has a setting that does not exist.
    """
    try:
        content = yaml.safe_load(profile.read_text(encoding="utf-8")) if profile else {}
    except (OSError, yaml.YAMLError) as error:
        raise WorkflowError(f"The profile {profile} cannot be read: {error}") from error
    found = {
        key.removeprefix(_OPTION).replace("-", "_"): value
        for key, value in (content or {}).items()
        if key.startswith(_OPTION)
    }
    found |= {key: value for key, value in changed.items() if value}
    unknown = found.keys() - {setting.name for setting in fields(ExecutorSettings)}
    if unknown:
        raise WorkflowError(f"The profile {profile} has unknown settings: {', '.join(unknown)}")
    return ExecutorSettings(**cast("dict[str, Any]", found))


def open_client(settings: ExecutorSettings) -> Client:
    """A client of the workspace that the settings, the environment or config.json names.

    Raises
    ------
    WorkflowError
        If none of them does, or the SDK is not installed.
    """
    workspace = find_workspace(
        subscription_id=settings.subscription_id,
        resource_group=settings.resource_group,
        workspace_name=settings.workspace_name,
    )
    credential = find_credential(cast("Login", settings.login))
    patience = Patience(total_s=_PATIENCE_S)
    return connect(cast("Sdk", settings.sdk), workspace, credential=credential, patience=patience)


def choose_jobs(
    client: Client,
    *,
    experiment: str = "",
    run_ids: Sequence[str] = (),
    status: Collection[str] = STATES,
) -> list[JobInfo]:
    """The jobs that are meant.

    Parameters
    ----------
    client
        Asks the workspace.
    experiment
        Name of their experiment; where no `run_ids` are given either, that of the branch that is
        checked out.
    run_ids
        Names of jobs, or ``<experiment>/<name>``, in the order in which they are returned; what is
        found by experiment comes newest first.
    status
        Jobs in other states are left out.

    Raises
    ------
    WorkflowError
        If a job does not exist or a status is none.
    """
    known = {state.lower(): state for state in STATES}
    wrong = [name for name in status if name.lower() not in known]
    if wrong:
        raise WorkflowError(
            f"No job is ever {' or '.join(wrong)}: a status is one of {', '.join(sorted(STATES))}."
        )
    wanted = {known[name.lower()] for name in status}
    found: Iterator[JobInfo]
    if run_ids:
        found = (client.get(run_id.rpartition("/")[2]) for run_id in run_ids)
    else:
        found = client.list(tags={}, experiment=experiment or name_experiment())
    # A state that this list has never heard of is shown unless one asks for less than all.
    return [job for job in found if job.status in wanted or wanted == STATES]


def list_runs(
    client: Client,
    *,
    experiment: str = "",
    run_ids: Sequence[str] = (),
    status: Collection[str] = STATES,
    now: datetime | None = None,
) -> list[Run]:
    """The jobs that `choose_jobs` finds, as rows of a table; `now` is what ages are counted to."""
    jobs = choose_jobs(client, experiment=experiment, run_ids=run_ids, status=status)
    now = now or datetime.now(UTC)
    return [_row(job, now) for job in jobs]


def _row(job: JobInfo, now: datetime) -> Run:
    age_s = None
    if job.created is not None:
        # Without a zone, the time is UTC.
        created = job.created if job.created.tzinfo else job.created.replace(tzinfo=UTC)
        age_s = max(0.0, (now - created).total_seconds())
    return Run(
        name=job.name,
        display_name=job.display_name,
        state=job.status,
        age_s=age_s,
        compute=job.compute,
        experiment=job.experiment,
        url=job.url,
    )
