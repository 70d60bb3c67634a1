"""From a job of Snakemake to an order: who it is, what it needs, how it is run."""

from __future__ import annotations

import getpass
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_azureml.credentials import SECRET_VARIABLES, redact
from snakemake_executor_plugin_azureml.jobs import (
    Identity,
    Wishes,
    experiment_name,
    read_resources,
)
from snakemake_executor_plugin_azureml.settings import ExecutorSettings

_TAGGED_RESOURCES = ("gpu", "mem_mb")


@dataclass(frozen=True, kw_only=True)
class Order:
    """A Snakemake job to run.

    Attributes
    ----------
    job
        The job, or the group.
    command
        Runs it in a working directory that has its inputs.
    known_as
        Name of the job in the workspace according to Snakemake's own marker; empty without one.
    """

    job: Any
    identity: Identity
    wishes: Wishes
    command: str
    environment: Mapping[str, str]
    known_as: str = ""


def make_order(
    job: Any,
    *,
    command: str,
    environment: Mapping[str, str],
    settings: ExecutorSettings,
    known_as: str = "",
) -> Order:
    """What has to be known about a job before it is packed.

    Raises
    ------
    WorkflowError
        If a resource makes no sense, or a secret would become readable.
    """
    resources = dict(job.resources.items())
    defaults = {
        name: getattr(settings, name) for name in ("compute", "environment", "tier", "shm_size")
    }
    require_no_secrets(environment)
    return Order(
        job=job,
        identity=identify(job, resources),
        wishes=read_resources(resources, defaults),
        command=command,
        environment=environment,
        known_as=known_as,
    )


def identify(job: Any, resources: Mapping[str, Any]) -> Identity:
    """Rules, wildcards and attempt of a job or group."""
    layers = job.toposorted if job.is_group() else [[job]]
    rules = [rule for layer in layers for rule in sorted(member.rule.name for member in layer)]
    values: defaultdict[str, set[str]] = defaultdict(set)
    for layer in layers:
        for member in layer:
            for name, value in member.wildcards_dict.items():
                values[name].add(str(value))
    return Identity(
        rules=tuple(dict.fromkeys(rules)),
        wildcards={name: found.pop() for name, found in values.items() if len(found) == 1},
        attempt=job.attempt,
        resources={name: str(resources[name]) for name in _TAGGED_RESOURCES if resources.get(name)},
    )


def require_no_secrets(environment: Mapping[str, str]) -> None:
    """Refuse environment variables (`envvars:`) that everyone who reads the workspace could read.

    Raises
    ------
    WorkflowError
        Names the variable, not its value.
    """
    for name, value in environment.items():
        if name in SECRET_VARIABLES or redact(value) != value:
            raise WorkflowError(
                f"The environment variable {name} (envvars: or --envvars) holds a secret, and "
                "everyone who can read the workspace could read it in the job. Give the compute, "
                "or --azureml-identity-client-id, a managed identity with the same rights instead."
            )


def name_experiment() -> str:
    """The experiment of the checked-out branch."""
    branch = _git("branch", "--show-current")
    user = _user() if not branch else ""
    return experiment_name(branch, user=user, month=f"{date.today():%Y%m}")


def revision() -> str:
    """The commit that is checked out, ``-dirty`` if files differ from it; empty without git."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str:
    try:
        answer = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user may have no name
        return "user"
