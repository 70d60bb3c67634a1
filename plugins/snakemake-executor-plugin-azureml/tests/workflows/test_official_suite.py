"""Snakemake's own tests of executors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import snakemake.common.tests
from snakemake_executor_plugin_azureml import ExecutorSettings

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("azureml_here")
class TestWorkflows(snakemake.common.tests.TestWorkflowsLocalStorageBase):
    __test__ = True

    def get_executor(self) -> str:
        return "azureml"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(compute="cpu-cluster", environment="ghcr.io/lab/pipeline:1")

    def get_assume_shared_fs(self) -> bool:
        return False

    @pytest.fixture(autouse=True)
    def _jobs_were_remote(self, azureml_here: Emulator):
        yield
        assert azureml_here.jobs()
