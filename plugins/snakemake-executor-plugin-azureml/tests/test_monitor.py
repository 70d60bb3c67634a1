"""Event files of jobs, from all places where a job may leave them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from snakemake_executor_plugin_azureml.client import Client, connect
from snakemake_executor_plugin_azureml.client.retrying import Patience
from snakemake_executor_plugin_azureml.jobfiles import JobFile, JobFiles, belongs
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobInfo, JobSpec
from snakemake_executor_plugin_azureml.monitor import EVENT_FILES, sync_events
from snakemake_executor_plugin_azureml.packing import Manifest
from snakemake_executor_plugin_azureml.settings import ExecutorSettings
from snakemake_executor_plugin_azureml.workspace import find_workspace
from snakemake_interface_common.exceptions import WorkflowError

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

EVENTS = "events.out.tfevents.1.host"
WHOSE = {"rule": "train_fold", "wildcards": "fold=1, model=A"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "curves"


@pytest.fixture
def client(azureml_here: Emulator) -> Client:
    return connect("v2", find_workspace(), patience=Patience(total_s=20, first_s=0.05))


def submit(client: Client, name: str, command: str) -> JobInfo:
    return client.submit(
        JobSpec(
            name=name,
            experiment="main",
            command=command,
            environment=client.ensure_environment(
                EnvironmentSpec(name="quiet", image="python:3.12")
            ),
            compute="gpu-cluster",
            tags=WHOSE,
        )
    )


def put_manifest(azureml: Emulator, name: str) -> None:
    manifest = Manifest(
        command="true", sources="0" * 64, mounts={".state": "persistent/mine/.state"}
    )
    azureml.put_blob(f"snakemake/jobs/{name}/manifest.json", manifest.to_json().encode())


def put_product(azureml: Emulator, name: str, path: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    azureml.put_blob(f"snakemake/blobs/{digest[:2]}/{digest}", content)
    file = {"path": path, "digest": digest, "size": len(content), "mode": 0o644}
    result = {"exit_code": 0, "products": {"files": [file], "directories": [], "links": {}}}
    azureml.put_blob(f"snakemake/jobs/{name}/result.json", json.dumps(result).encode())


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_what_the_service_keeps_of_a_running_job_grows_here_too(
    client: Client, azureml_here: Emulator, folder: Path
) -> None:
    job = submit(
        client,
        "train-1",
        f"mkdir -p outputs/runs; echo weights > outputs/model; echo -n 1 > outputs/runs/{EVENTS}; "
        f"while [ ! -e outputs/stop ]; do sleep 0.1; echo -n 2 >> outputs/runs/{EVENTS}; done",
    )
    path = f"train-1/outputs/runs/{EVENTS}"
    azureml_here.wait_until(lambda: bool(sync_events(client, [job], folder)), timeout_s=30)
    first = contents(folder)
    assert list(first) == [path]

    def has_grown() -> bool:
        sync_events(client, [job], folder)
        return len(contents(folder)[path]) > len(first[path])

    azureml_here.wait_until(has_grown, timeout_s=30)
    assert contents(folder)[path].startswith(b"12")
    client.cancel("train-1")
    azureml_here.wait_for("train-1")


def test_a_folder_that_outlives_jobs_gives_each_job_its_own(
    client: Client, azureml_here: Emulator, folder: Path
) -> None:
    job = submit(client, "train-1", "true")
    put_manifest(azureml_here, "train-1")
    for fold in (0, 1, 11):
        azureml_here.put_blob(
            f"snakemake/persistent/mine/.state/A/fold_{fold}/{EVENTS}", str(fold).encode()
        )
    azureml_here.put_blob("snakemake/persistent/mine/.state/A/fold_1/state.pt", b"weights")
    azureml_here.put_blob(f"snakemake/persistent/other/.state/A/fold_1/{EVENTS}", b"no")
    sync_events(client, [job], folder)
    assert contents(folder) == {f"train-1/.state/A/fold_1/{EVENTS}": b"1"}


def test_what_a_finished_job_brings_back_is_found_by_its_digest(
    client: Client, azureml_here: Emulator, folder: Path
) -> None:
    job = submit(client, "train-1", "true")
    put_product(azureml_here, "train-1", "results/A/folds/1/training.csv", b"epoch\n1\n")
    assert sync_events(client, [job], folder) == []
    (synced,) = sync_events(client, [job], folder, patterns=(EVENT_FILES, "training.csv"))
    assert synced.read_bytes() == b"epoch\n1\n"
    azureml_here.forget_requests()
    sync_events(client, [job], folder, patterns=("training.csv",))
    downloads = azureml_here.requests(method="GET", path="blobs/", service="blob")
    assert downloads == []


def test_files_are_looked_for_where_the_settings_say(
    client: Client, azureml_here: Emulator, folder: Path
) -> None:
    job = submit(client, "train-1", "true")
    put_product(azureml_here, "train-1", EVENTS, b"1")
    elsewhere = ExecutorSettings(prefix="another/folder/")
    assert sync_events(client, [job], folder, settings=elsewhere) == []
    assert len(sync_events(client, [job], folder)) == 1


def test_a_path_out_of_the_folder_is_refused(
    client: Client, azureml_here: Emulator, folder: Path
) -> None:
    file = JobFile(path="../x", blob="x", container=client.container("workspaceblobstore"), size=1)
    with pytest.raises(WorkflowError, match="outside of its folder"):
        JobFiles(client, ExecutorSettings()).bring(file, folder)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("A/fold_1/x", True),
        ("A/fold_11/x", False),
        ("A2/fold_1/x", False),
        ("B/fold_1/x", False),
        ("A/fold_2/1", False),
    ],
)
def test_a_file_belongs_to_the_job_whose_wildcards_its_folders_name(
    path: str, expected: bool
) -> None:
    job = JobInfo(name="train-1", status="Running", experiment="main", tags=WHOSE)
    assert belongs(path, job) == expected
