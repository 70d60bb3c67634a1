"""The commands on runs of Azure Machine Learning, through the plugin and against its emulator."""

# ruff: noqa: F811 - fixtures are imported, and used by name

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytest.importorskip("snakemake_executor_plugin_azureml")
from azureml_emulator.fixtures import azureml, azureml_address, azureml_here, azurite  # noqa: F401
from snakemake_executor_plugin_azureml.client import connect
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobSpec
from snakemake_executor_plugin_azureml.workspace import find_workspace

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

REPOSITORY = Path(__file__).parents[2]
TABLE = "epoch,phase,metric,value,lr,seconds\\n1,train,loss,0.5,0.1,1\\n"


@pytest.fixture
def experiment(azureml_here: Emulator) -> str:
    """An experiment with a fold that is being trained, and one whose training has failed."""
    client = connect("v2", find_workspace())
    software = client.ensure_environment(EnvironmentSpec(name="quiet", image="python:3.12"))
    for fold, end in ((0, "sleep 60"), (1, "exit 1")):
        client.submit(
            JobSpec(
                name=f"train_fold-{fold}-a",
                experiment="main",
                command=f"mkdir -p outputs/A/fold_{fold}; cd outputs/A/fold_{fold}; "
                f"printf '{TABLE}' > training.csv; {end}",
                environment=software,
                compute="gpu-cluster",
            )
        )
    azureml_here.wait_for("train_fold-1-a")
    azureml_here.wait_until(
        lambda: bool(
            azureml_here.blobs(
                "ExperimentRun/dcid.train_fold-0-a/outputs", "workspaceartifactstore"
            )
        )
    )
    return "main"


def crossfold(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "crossfold", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("sdk", ["v2", "v1"])
def test_runs_are_listed(experiment: str, sdk: str, tmp_path: Path) -> None:
    process = crossfold("runs", "--experiment", experiment, "--sdk", sdk, folder=tmp_path)
    said, _ = process.communicate(timeout=60)
    rows = {line.split()[0]: line for line in said.splitlines()[1:]}
    assert "Running" in rows["train_fold-0-a"]
    assert "Failed" in rows["train_fold-1-a"]
    assert "https://" in rows["train_fold-1-a"]


def test_curves_of_a_running_job_are_shown(experiment: str, tmp_path: Path) -> None:
    process = crossfold("monitor", "--experiment", experiment, "--port", "0", folder=tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    assert first.startswith("TensorBoard is at http://localhost:"), first
    (curve,) = (tmp_path / ".state/tensorboard/curves").glob("*/*/*")
    assert curve.name == "train_fold-0-a"
    (point,) = EventAccumulator(str(curve)).Reload().Scalars("loss/train")
    assert (point.step, point.value) == (1, 0.5)
