"""The commands on runs of Azure Machine Learning, through the plugin and against its emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytest.importorskip("snakemake_executor_plugin_azureml")
from snakemake_executor_plugin_azureml.client import connect
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobSpec
from snakemake_executor_plugin_azureml.packing import Manifest
from snakemake_executor_plugin_azureml.workspace import find_workspace

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

REPOSITORY = Path(__file__).parents[2]
TABLE = b"epoch,phase,metric,value,lr,seconds\n1,train,loss,0.5,0.1,1\n"
# What the executor writes before a job, and a training while it runs, on the mount.
MANIFEST = Manifest(command="", sources="", mounts={".state": "persistent/w/.state"})
STATE = "snakemake/persistent/w/.state/A/fold_0/0a1b/training.csv"


@pytest.fixture
def experiment(azureml_here: Emulator) -> str:
    """An experiment with a fold that is being trained, and one whose training has failed."""
    client = connect("v2", find_workspace())
    software = client.ensure_environment(EnvironmentSpec(name="quiet", image="python:3.12"))
    for fold, command in ((0, "sleep 600"), (1, "exit 1")):
        name = f"train_fold-{fold}-a"
        azureml_here.put_blob(f"snakemake/jobs/{name}/manifest.json", MANIFEST.to_json().encode())
        client.submit(
            JobSpec(
                name=name,
                experiment="main",
                command=command,
                environment=software,
                compute="gpu-cluster",
                tags={"rule": "train_fold", "wildcards": f"fold={fold}, model=A"},
            )
        )
    azureml_here.put_blob(STATE, TABLE)
    azureml_here.wait_for("train_fold-0-a", "Running")
    azureml_here.wait_for("train_fold-1-a")
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
    said, _ = process.communicate(timeout=180)
    rows = {line.split()[0]: line for line in said.splitlines()[1:]}
    assert "Running" in rows["train_fold-0-a"]
    assert "Failed" in rows["train_fold-1-a"]
    assert "gpu-cluster" in rows["train_fold-1-a"]
    assert "https://" in rows["train_fold-1-a"]


def test_curves_of_a_running_fold_are_shown(experiment: str, tmp_path: Path) -> None:
    process = crossfold("monitor", "--experiment", experiment, "--port", "0", folder=tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=180)
    assert first.startswith("TensorBoard is at http://localhost:"), first
    (curve,) = (tmp_path / ".state/tensorboard/curves").glob("*/*/*")
    assert curve.parts[-3:] == ("A", "fold_0", "train_fold-0-a")
    (point,) = EventAccumulator(str(curve / "train")).Reload().Scalars("Loss")
    assert (point.step, point.value) == (1, 0.5)
