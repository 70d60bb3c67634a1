"""The emulator as the unmodified azure-ai-ml sees it."""

from __future__ import annotations

import contextlib
import os

import psutil
import pytest
from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.entities import Data, Environment, Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient

STORE = "azureml://datastores/workspaceblobstore/paths/store/"
MOUNTED = {"store": Output(type="uri_folder", path=STORE, mode="rw_mount")}
IMAGE = Environment(image="python:3.11")


@pytest.fixture
def client(azureml_here):
    settings = azureml_here.environment
    return MLClient(
        DefaultAzureCredential(),
        settings["AZUREML_SUBSCRIPTION_ID"],
        settings["AZUREML_RESOURCE_GROUP"],
        settings["AZUREML_WORKSPACE_NAME"],
        show_progress=False,
        enable_telemetry=False,
    )


@pytest.fixture
def submit(client):
    def submit(name, text, **settings):
        settings = {"environment": IMAGE, "compute": "gpu-cluster", **settings}
        return client.jobs.create_or_update(command(name=name, command=text, **settings))

    return submit


def test_job_from_submission_to_its_files(azureml, client, submit, tmp_path):
    job = submit(
        "first",
        "echo $COLOUR ${{inputs.number}}; mkdir outputs; echo result > outputs/file",
        inputs={"number": 7},
        environment_variables={"COLOUR": "blue"},
        display_name="The first",
        experiment_name="trials",
    )
    assert job.status == "NotStarted"
    assert azureml.wait_for("first").statuses == [
        "NotStarted",
        "Starting",
        "Preparing",
        "Queued",
        "Running",
        "Finalizing",
        "Completed",
    ]
    job = client.jobs.get("first")
    assert (job.status, job.display_name, job.experiment_name) == (
        "Completed",
        "The first",
        "trials",
    )
    assert job.studio_url.startswith(azureml.url)
    client.jobs.download("first", download_path=tmp_path, all=True)
    assert (tmp_path / "artifacts/user_logs/std_log.txt").read_text() == "blue 7\n"
    assert (tmp_path / "artifacts/outputs/file").read_text() == "result\n"


def test_failure_is_streamed(azureml, client, submit):
    submit("broken", "echo boom; exit 7")
    assert azureml.wait_for("broken").exit_code == 7
    with pytest.raises(Exception, match="status code 7"):
        client.jobs.stream("broken")


def test_code(azureml, submit, tmp_path):
    (tmp_path / "code/package").mkdir(parents=True)
    (tmp_path / "code/package/module.py").write_text("print('from the code')")
    submit("coded", "python package/module.py", code=str(tmp_path / "code"))
    assert azureml.wait_for("coded").logs == ["from the code\n"]


def test_cancel(azureml, client, submit):
    submit("long", "sleep 60")
    azureml.wait_for("long", "Running")
    client.jobs.begin_cancel("long").wait(20)
    assert client.jobs.get("long").status == "Canceled"


def test_mount_round_trip(azureml, submit):
    azureml.put_blob("store/blobs/in", b"hello")
    azureml.put_blob("elsewhere", b"not seen")
    folder = "${{outputs.store}}"
    submit(
        "mounted",
        f"ls -A . {folder}; cat {folder}/blobs/in > {folder}/out; rm {folder}/blobs/in;"
        f"test $AZURE_ML_OUTPUT_store = {folder}",
        outputs=MOUNTED,
    )
    job = azureml.wait_for("mounted")
    assert (job.status, azureml.blobs("store")) == ("Completed", {"store/out": b"hello"})
    assert job.logs[0].splitlines()[:2] == [".:", ""]
    assert job.logs[0].splitlines()[-1] == "blobs"


def test_mounted_input_is_not_written_back(azureml, submit):
    azureml.put_blob("store/in", b"hello")
    data = Input(type="uri_folder", path=STORE, mode="ro_mount")
    submit("read", "cat ${{inputs.data}}/in; touch ${{inputs.data}}/new", inputs={"data": data})
    assert azureml.wait_for("read").logs == ["hello"]
    assert azureml.blobs("store") == {"store/in": b"hello"}


def test_registered_data_is_mounted(azureml, client, submit):
    azureml.put_blob("store/in", b"hello")
    client.data.create_or_update(Data(name="scans", version="1", path=STORE, type="uri_folder"))
    data = Input(type="uri_folder", path="azureml:scans:1", mode="ro_mount")
    submit("read", "cat ${{inputs.data}}/in", inputs={"data": data})
    assert azureml.wait_for("read").logs == ["hello"]


def test_list_pages_of_a_hundred(azureml, client, submit):
    submit("other", "true")
    properties = azureml.job("other").definition | {"tags": {"workflow-1": "yes"}}
    azureml.add_jobs(properties, count=205)
    azureml.forget_requests()
    assert len(list(client.jobs.list(tag="workflow-1"))) == 205
    assert len(azureml.requests(path="/jobs$")) == 3
    assert list(client.jobs.list(tag="workflow-1=yes")) == []


def test_same_name_is_the_same_job(azureml, client, submit):
    submit("once", "echo a")
    azureml.wait_for("once")
    again = submit("once", "echo a", tags={"try": "2"})
    assert (again.status, again.tags, azureml.job("once").runs) == ("Completed", {"try": "2"}, 1)
    with pytest.raises(HttpResponseError, match="already exists"):
        submit("once", "echo b")


def test_queue_has_a_limit(azureml, submit):
    azureml.add_compute("tiny", max_nodes=1)
    submit("one", "sleep 0.5", compute="tiny")
    submit("two", "true", compute="tiny")
    azureml.wait_for("one", "Running")
    azureml.wait_for("two", "Queued")
    assert azureml.job("one").status == "Running"
    assert azureml.wait_for("two").started > azureml.wait_for("one").ended


def test_preempted_job_finds_what_was_synchronised(azureml, submit):
    azureml.preempt("train", mount="state/step1")
    state = "${{outputs.store}}/state"
    submit(
        "train",
        f"ls -A . {state}; touch only-here; cat {state}/step1 && exit;"
        f"mkdir -p {state}; exec 3> {state}/step1; sleep 1; echo done >&3; sleep 60 & wait",
        outputs=MOUNTED,
    )
    job = azureml.wait_for("train")
    assert job.statuses[4:6] == ["Running", "Queued"]
    assert (job.status, job.exit_codes) == ("Completed", [None, 0])
    assert "done" not in job.logs[0].splitlines()
    # A file is not there until its writer has written something.
    assert "done" in job.logs[1]
    assert "only-here" not in job.logs[1]


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "sleep 60 & wait"])
def test_nothing_outlives_a_node(azureml, submit, end):
    azureml.preempt("job", log="begun", count=1 if "wait" in end else 0)
    submit(
        "job", f"echo $HOME; setsid bash -c 'echo begun; sleep 60 & sleep 60' & sleep 0.5; {end}"
    )
    azureml.wait_until(lambda: azureml.job("job").runs > 0)
    home = azureml.job("job").logs[0].splitlines()[0]
    assert home not in {environment.get("HOME") for environment in environments()}


def environments():
    """The variables of all processes that still run."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            yield process.environ()


def test_log_and_files_while_it_runs(azureml, client, submit):
    submit("live", "echo begun; mkdir logs; echo event > logs/events; sleep 60")
    azureml.wait_for("live", "Running")
    prefix = "ExperimentRun/dcid.live/"
    wanted = {f"{prefix}user_logs/std_log.txt": b"begun\n", f"{prefix}logs/events": b"event\n"}
    azureml.wait_until(lambda: azureml.blobs(prefix, "workspaceartifactstore") == wanted)


def test_time_limit(azureml, submit):
    submit("slow", "sleep 60", timeout=1)
    job = azureml.wait_for("slow")
    assert job.status == "Canceled"
    assert "limit" in job.error


def test_environment_version_is_fixed(client):
    make = client.environments.create_or_update
    made = make(Environment(name="tools", version="1", image="python:3.11"))
    assert made.id.endswith("/environments/tools/versions/1")
    assert client.environments.get("tools", "1").image == "python:3.11"
    assert make(Environment(name="tools", version="1", image="python:3.11")).version == "1"
    with pytest.raises(HttpResponseError, match="cannot be changed"):
        make(Environment(name="tools", version="1", image="python:3.12"))
    with pytest.raises(ResourceNotFoundError):
        client.environments.get("tools", "2")


def test_model(client, tmp_path):
    (tmp_path / "net").mkdir()
    for name in ("weights", "notes"):
        (tmp_path / "net" / name).write_text(name * 100)
    for _ in range(2):
        client.models.create_or_update(
            Model(name="net", path=str(tmp_path / "net"), type="custom_model", tags={"dice": "1"})
        )
    assert client.models.get("net", label="latest").version == "2"
    assert [model.version for model in client.models.list("net")] == ["2", "1"]
    client.models.download("net", "2", download_path=tmp_path / "target")
    assert (tmp_path / "target/net/net/weights").read_text() == "weights" * 100


def test_container_of_a_datastore(azureml, client):
    datastore = client.datastores.get_default(include_secrets=True)
    container = ContainerClient(
        f"https://{datastore.account_name}.blob.{datastore.endpoint}",
        datastore.container_name,
        credential=datastore.credentials.sas_token,
    )
    container.upload_blob("a/b", os.urandom(100_000))
    assert list(azureml.blobs()) == ["a/b"]
    assert [item.name for item in container.list_blobs()] == ["a/b"]
    assert [request.method for request in azureml.requests(service="blob")] == ["PUT", "GET"]
    with_token = ContainerClient(
        f"https://{datastore.account_name}.blob.{datastore.endpoint}",
        datastore.container_name,
        credential=DefaultAzureCredential(),
    )
    assert with_token.download_blob("a/b").readall() == azureml.blobs()["a/b"]


@pytest.mark.parametrize(
    "settings",
    [
        {"compute": "nobody"},
        {"environment": "nobody:1"},
        {"text": "echo $ ${{ secrets.key }}"},
        {"outputs": {"store": Output(path="azureml://datastores/nobody/paths/x", mode="rw_mount")}},
    ],
)
def test_refused(submit, settings):
    with pytest.raises(HttpResponseError, match="UserError"):
        submit("refused", **{"text": "true", **settings})
