"""What a user can set, on the command line (`--azureml-…`) or in a profile."""

# Snakemake makes command line options of the types below: they must not be strings.
from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase


def parse_switch(value: object) -> bool:
    """Return what `true`, `yes`, `on`, `1` and their opposites stand for.

    Raises
    ------
    ValueError
        For anything else.
    """
    text = str(value).strip().lower()
    if text in {"true", "yes", "on", "1"}:
        return True
    if text in {"false", "no", "off", "0"}:
        return False
    raise ValueError(f"{value!r} is neither true nor false")


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Settings of the executor; every one has a default, so that a dry run needs none."""

    sdk: str = field(
        default="v2",
        metadata={
            "help": "SDK to talk to Azure Machine Learning with: v2 (azure-ai-ml) or v1 "
            "(azureml-core, whose support ended in June 2026).",
            "choices": ["v2", "v1"],
        },
    )
    login: str = field(
        default="default",
        metadata={
            "help": "How to log in: default (service principal in the environment, managed "
            "identity, or what `az login` left), interactive (browser) or service_principal.",
            "choices": ["default", "interactive", "service_principal"],
        },
    )
    subscription_id: str = field(
        default="",
        metadata={
            "help": "Subscription of the workspace. What is not set here is taken from "
            "AZUREML_SUBSCRIPTION_ID, then from .azureml/config.json or config.json."
        },
    )
    resource_group: str = field(
        default="",
        metadata={"help": "Resource group of the workspace, or AZUREML_RESOURCE_GROUP."},
    )
    workspace_name: str = field(
        default="", metadata={"help": "Name of the workspace, or AZUREML_WORKSPACE_NAME."}
    )
    compute: str = field(
        default="",
        metadata={
            "help": "Compute cluster of jobs whose rule does not set the resource azureml_compute. "
            "Empty for serverless compute."
        },
    )
    environment: str = field(
        default="",
        metadata={
            "help": "Software of jobs whose rule does not set the resource azureml_environment: "
            "name:version of a registered environment, an image with its registry, or a conda "
            "file such as envs/azureml.yaml, which is registered once per content."
        },
    )
    shm_size: str = field(
        default="16g",
        metadata={"help": "Shared memory of jobs whose rule does not set the resource shm_size."},
    )
    tier: str = field(
        default="dedicated",
        metadata={
            "help": "Tier of serverless jobs whose rule does not set the resource azureml_tier: "
            "dedicated, or low_priority (cheaper; may be interrupted and queued again).",
            "choices": ["dedicated", "low_priority"],
        },
    )
    datastore: str = field(
        default="workspaceblobstore",
        metadata={"help": "Datastore (blob container) that files travel through."},
    )
    prefix: str = field(
        default="snakemake", metadata={"help": "Folder of the datastore that files are kept in."}
    )
    experiment: str = field(
        default="",
        metadata={"help": "Experiment that jobs are listed in; the git branch if empty."},
    )
    max_concurrent: int = field(
        default=0,
        metadata={
            "help": "How many jobs may be on Azure Machine Learning at a time; 0 for as many as "
            "--jobs allows."
        },
    )
    identity_client_id: str = field(
        default="",
        metadata={"help": "Client id of the managed identity that jobs run as."},
    )
    cancel_on_interrupt: bool | str = field(
        default=True,
        metadata={
            "help": "Whether Ctrl-C and SIGTERM cancel the jobs. With false they keep running, and "
            "the next run picks them up.",
            "metavar": "true|false",
            "parse_func": parse_switch,
            "unparse_func": str,
            "type": str,
        },
    )
    queue_patience_min: float = field(
        default=30.0,
        metadata={"help": "Minutes that a job may wait for a node before that is said aloud."},
    )
