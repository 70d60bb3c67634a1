"""A Snakemake executor plugin for Azure Machine Learning."""

from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_azureml.executor import Executor
from snakemake_executor_plugin_azureml.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    # The executor sends sources, inputs and outputs itself: paths stay plain, and a job needs
    # neither a storage plugin nor a credential.
    can_transfer_local_files=True,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
    # Everyone who can read the workspace can read the command of a job.
    pass_envvar_declarations_to_cmd=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
)
