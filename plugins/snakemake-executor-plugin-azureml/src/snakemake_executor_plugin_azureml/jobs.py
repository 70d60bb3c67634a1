"""What a job of Azure Machine Learning is, as data: what is asked for and what is answered."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from snakemake_interface_common.exceptions import WorkflowError

TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
"""States that a job never leaves. Every other one is alive, NotResponding and Queued after Running
(a preempted node) included."""

WAITING = frozenset({"NotStarted", "Starting", "Provisioning", "Preparing", "Queued"})
"""States in which no command has started."""

TIERS = ("dedicated", "low_priority")

PLAIN_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
"""What a conda environment is built on. The driver is the node's, CUDA comes with PyTorch."""

DIGEST_LENGTH = 10
# Azure allows 255 characters in a name and 256 in a tag; a name should fit on a screen.
_SLUG_LENGTH = 100
_TAG_LENGTH = 256
_EXPERIMENT_LENGTH = 255
_CLOUD = "azureml:"

_NOTHING: Mapping[str, str] = MappingProxyType({})


def mount_variable(name: str) -> str:
    """Environment variable that tells a job's command where its mount `name` is."""
    return f"AZUREML_MOUNT_{name.upper()}"


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job to submit.

    Attributes
    ----------
    name
        Identifies the job in its workspace. Submitting the same name twice gives the same job.
    display_name
        What the portal shows.
    experiment
        The experiment that the job is listed in.
    command
        Run by a shell. Finds the folder of mount `name` in the environment variable
        ``mount_variable(name)``.
    environment
        ``name:version`` of a registered environment.
    compute
        Name of a compute cluster; empty for serverless compute.
    mounts
        Folders that the command reads and writes, by name:
        ``azureml://datastores/<datastore>/paths/<path>``.
    inputs
        Folders that the command only reads, by name: as in `mounts`, or of a data asset,
        ``azureml:<name>:<version>``.
    env
        Environment variables of the command. Everyone who can read the workspace can read them.
    tags
        Names and values that jobs are found by.
    shm_size
        Shared memory of the container, such as ``16g``.
    nodes
        Number of nodes.
    processes_per_node
        Processes that PyTorch's launcher starts on each node; 0 to start the command itself once.
    timeout_s
        The job is cancelled after this many seconds of running; 0 for the service's own limit.
    tier
        Whether serverless nodes may be taken away. A cluster's tier is the cluster's.
    identity_client_id
        Client id of the managed identity that the job runs as.
    """

    name: str
    display_name: str = ""
    experiment: str
    command: str
    environment: str
    compute: str = ""
    mounts: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    inputs: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    env: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    tags: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    shm_size: str = "16g"
    nodes: int = 1
    processes_per_node: int = 0
    timeout_s: int = 0
    tier: Literal["dedicated", "low_priority"] = "dedicated"
    identity_client_id: str = ""


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """A job as the service last described it.

    Attributes
    ----------
    url
        The job's page in the portal.
    created
        When it was submitted; None where the service does not say.
    display_name
        What the portal shows.
    compute
        Name of its cluster; empty where it is serverless.
    """

    name: str
    status: str
    experiment: str
    tags: Mapping[str, str]
    url: str = ""
    created: datetime | None = None
    display_name: str = ""
    compute: str = ""


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """The software of a job: an image, and optionally a conda environment built on top of it.

    Attributes
    ----------
    image
        Container image with registry and tag.
    conda
        Text of a conda environment file; empty for the image as it is.
    """

    name: str
    image: str
    conda: str = ""

    @property
    def version(self) -> str:
        """Digest of the definition, so that the same software is registered once."""
        return hashlib.sha256(f"{self.image}\n{self.conda}".encode()).hexdigest()[:16]


class Wishes(NamedTuple):
    """What a rule asks of Azure Machine Learning through its resources."""

    compute: str
    environment: str
    shm_size: str
    tier: Literal["dedicated", "low_priority"]
    nodes: int
    timeout_s: int
    folders: str
    """Paths that outlive a job, separated by commas."""
    data: Mapping[str, str]
    """Paths at which a job finds data that is in the cloud already, and the address of the data."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which job of the workflow this is, for people.

    Attributes
    ----------
    rules
        One rule, or those of a group in the order in which they run.
    wildcards
        Their values; of a group, those that all of its jobs agree on.
    attempt
        Snakemake's count of tries.
    resources
        Numbers that are worth finding a job by.
    """

    rules: tuple[str, ...]
    wildcards: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    attempt: int = 1
    resources: Mapping[str, str] = field(default_factory=lambda: _NOTHING)

    @property
    def title(self) -> str:
        """One line for the portal: ``train_fold fold=1, model=Prostate``."""
        wildcards = ", ".join(f"{name}={value}" for name, value in sorted(self.wildcards.items()))
        attempt = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        return f"{' + '.join(self.rules)} {wildcards}".strip()[:200] + attempt

    @property
    def slug(self) -> str:
        """The same in the characters that a job's name may have, first a letter or a digit.

        In lower case, as azure-ai-ml writes every name when it submits.
        """
        words = (*self.rules, *(self.wildcards[name] for name in sorted(self.wildcards)))
        readable = re.sub(r"[^a-z0-9_]+", "-", "-".join(words).lower()).strip("-_")
        return readable[:_SLUG_LENGTH].rstrip("-_") or "job"

    def tags(self, **further: str) -> dict[str, str]:
        """What the job is found by: rule, attempt and, under its own name, every wildcard."""
        listed = ", ".join(f"{name}={value}" for name, value in sorted(self.wildcards.items()))
        own = {"rule": "+".join(self.rules), "wildcards": listed, "attempt": str(self.attempt)}
        tags = {**self.wildcards, **self.resources, **own, **further}
        return {name: value[:_TAG_LENGTH] for name, value in tags.items() if value}


def job_name(identity: Identity, digest: str, submission: int) -> str:
    """Name of a job in its workspace, the same for the same work.

    Parameters
    ----------
    identity
        Makes the name readable.
    digest
        Hexadecimal digest of all that the job depends on; makes the name unique.
    submission
        1 for the first time that this work is submitted.
    """
    return f"{identity.slug}-{digest[:DIGEST_LENGTH]}-{submission}"


def experiment_name(branch: str, *, user: str, month: str) -> str:
    """The experiment that jobs are listed in: the git branch, with ``_`` for non-word characters.

    Parameters
    ----------
    branch
        Name of the branch; empty where there is none, as in a folder without git.
    user, month
        Name of the user and the month as ``yyyymm``, for that case.
    """
    name = branch or f"{user}_local_branch_{month}"
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:_EXPERIMENT_LENGTH]


def read_resources(resources: Mapping[str, Any], defaults: Mapping[str, str]) -> Wishes:
    """What a job needs.

    Parameters
    ----------
    resources
        Of the Snakemake job: ``azureml_compute``, ``azureml_environment``, ``azureml_tier``,
        ``azureml_mounts``, ``shm_size``, ``nodes`` and ``runtime`` (minutes).
    defaults
        For a job that does not say: ``compute``, ``environment``, ``tier`` and ``shm_size``.

    Raises
    ------
    WorkflowError
        If a value cannot be what is meant.
    """
    named = {
        name: str(resources.get(key) or defaults[name]).strip()
        for name, key in (
            ("compute", "azureml_compute"),
            ("environment", "azureml_environment"),
            ("tier", "azureml_tier"),
            ("shm_size", "shm_size"),
        )
    }
    if named["tier"] not in TIERS:
        raise WorkflowError(f"azureml_tier {named['tier']!r} is not one of {' and '.join(TIERS)}.")
    if not re.fullmatch(r"\d+[bkmg]?", named["shm_size"], re.IGNORECASE):
        raise WorkflowError(f"shm_size {named['shm_size']!r} is not a size such as 16g or 512m.")
    if not named["environment"]:
        raise WorkflowError(
            "No environment is set for the jobs. Set --azureml-environment (or azureml-environment "
            "in the profile) to an image, to envs/<name>.yaml or to <name>:<version> of a "
            "registered environment that has Python 3.11 or newer and Snakemake."
        )
    nodes = _number(resources, "nodes", 1)
    if nodes < 1:
        raise WorkflowError(f"nodes={nodes}: a job needs at least one node.")
    entries = [entry.strip() for entry in str(resources.get("azureml_mounts") or "").split(",")]
    pairs = [(entry, *entry.partition("=")[::2]) for entry in entries if entry]
    return Wishes(
        **named,  # type: ignore[arg-type]
        nodes=nodes,
        timeout_s=60 * _number(resources, "runtime", 0),
        folders=",".join(e for e, _, source in pairs if not source.startswith(_CLOUD)),
        data={path.strip(): source for _, path, source in pairs if source.startswith(_CLOUD)},
    )


def parse_environment(text: str, read: Callable[[str], str]) -> EnvironmentSpec | str:
    """The software that a rule or the settings name.

    Parameters
    ----------
    text
        ``name:version`` of a registered environment; an image with its registry, such as
        ``ghcr.io/lab/pipeline:1``; or a conda environment file, ``envs/torch.yaml``, which is built
        on a plain image, or ``envs/torch.yaml@<image>``.
    read
        Gives the content of a file.

    Returns
    -------
    EnvironmentSpec or str
        What has to be registered, or the reference of what is registered already.
    """
    if text.startswith("azureml://"):
        return text
    if re.search(r"\.ya?ml(@|$)", text):
        path, _, image = text.partition("@")
        name = "snakemake-" + _slug_of_file(path)
        return EnvironmentSpec(name=name, image=image or PLAIN_IMAGE, conda=read(path))
    if "/" in text:
        name = "snakemake-" + _slug_of_file(text.rpartition("@")[0] or text.rpartition(":")[0])
        return EnvironmentSpec(name=name, image=text)
    return text.removeprefix("azureml:")


def _slug_of_file(path: str) -> str:
    last = re.sub(r"\.ya?ml$", "", path.rpartition("/")[2])
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-") or "environment"


def _number(resources: Mapping[str, Any], name: str, default: int) -> int:
    value = resources.get(name)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise WorkflowError(f"{name} {value!r} is not a whole number.") from None
