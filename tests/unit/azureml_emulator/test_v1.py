"""The emulator as the unmodified azureml-core sees it."""

from __future__ import annotations

import pytest
from azureml.core import Datastore, Environment, Experiment, Model, Run, ScriptRunConfig, Workspace
from azureml.core.authentication import TokenAuthentication
from azureml.core.runconfig import DataReferenceConfiguration
from azureml.exceptions import ServiceException

MOUNT = "store"


@pytest.fixture
def workspace(azureml_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # azureml-core registers models only from below it
    settings = azureml_here.environment
    return Workspace(
        settings["AZUREML_SUBSCRIPTION_ID"],
        settings["AZUREML_RESOURCE_GROUP"],
        settings["AZUREML_WORKSPACE_NAME"],
        auth=TokenAuthentication(lambda _audience: settings["AZUREML_EMULATOR_TOKEN"]),
    )


@pytest.fixture
def submit(workspace, tmp_path):
    (tmp_path / "source").mkdir()

    def submit(name, command, *, tags=None, mount="", variables=None, **settings):
        environment = Environment("image")
        environment.docker.base_image = "python:3.11"
        environment.python.user_managed_dependencies = True
        script = ScriptRunConfig(
            str(tmp_path / "source"),
            command=command,
            environment=environment,
            compute_target="gpu-cluster",
            **settings,
        )
        script.run_config.environment_variables = variables or {}
        script.run_config.history.snapshot_project = False
        if mount:
            script.run_config.data_references = {
                MOUNT: DataReferenceConfiguration(
                    datastore_name="workspaceblobstore", path_on_datastore=mount, mode="mount"
                )
            }
        return Experiment(workspace, "trials").submit(script, tags=tags, run_id=name)

    return submit


def test_run_from_submission_to_its_files(azureml, submit, tmp_path):
    run = submit(
        "first", "mkdir outputs; echo $COLOUR | tee outputs/colour", variables={"COLOUR": "blue"}
    )
    azureml.wait_for("first")
    assert run.get_status() == "Completed"
    assert {"outputs/colour", "user_logs/std_log.txt"} <= set(run.get_file_names())
    run.download_files(output_directory=str(tmp_path / "files"))
    assert (tmp_path / "files/user_logs/std_log.txt").read_text() == "blue\n"
    assert "first" in run.get_portal_url()


def test_failure(azureml, submit):
    run = submit("broken", "echo boom; exit 7")
    azureml.wait_for("broken")
    assert run.get_status() == "Failed"
    assert "7" in run.get_details()["error"]["error"]["message"]


def test_cancel(azureml, workspace, submit):
    submit("long", "sleep 60")
    azureml.wait_for("long", "Running")
    Run.get(workspace, "long").cancel()
    assert azureml.wait_for("long").status == "Canceled"


def test_list_by_tag_and_status(azureml, workspace, submit):
    submit("one", "true", tags={"workflow": "a"})
    submit("two", "true", tags={"workflow": "b"})
    for name in ("one", "two"):
        azureml.wait_for(name)
    experiment = Experiment(workspace, "trials")
    assert [run.id for run in Run.list(experiment, tags={"workflow": "b"})] == ["two"]
    assert [run.id for run in Run.list(experiment, tags="workflow")] == ["two", "one"]
    assert list(Run.list(experiment, status="Failed")) == []


def test_mount_round_trip(azureml, submit):
    azureml.put_blob("place/in.txt", b"hello")
    folder = f"$AZUREML_DATAREFERENCE_{MOUNT}"
    submit("mounted", f"cat {folder}/in.txt > {folder}/out.txt", mount="place")
    assert azureml.wait_for("mounted").status == "Completed"
    assert azureml.blobs("place") == {"place/in.txt": b"hello", "place/out.txt": b"hello"}


def test_model(workspace, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net/weights").write_bytes(b"weights" * 1000)
    for _ in range(2):
        model = Model.register(workspace, model_path="net", model_name="net", tags={"dice": "1"})
    assert (model.name, model.version, model.tags) == ("net", 2, {"dice": "1"})
    assert Model(workspace, "net").version == 2
    Model(workspace, "net").download(str(tmp_path / "target"))
    assert (tmp_path / "target/net/weights").read_bytes() == b"weights" * 1000


@pytest.mark.parametrize("version", [None, "0123abcd"])
def test_environment(workspace, version):
    def register(image):
        environment = Environment("tools")
        environment.version = version
        environment.docker.base_image = image
        return environment.register(workspace).version

    assert register("python:3.11") == register("python:3.11") == (version or "1")
    assert Environment.get(workspace, "tools", version).docker.base_image == "python:3.11"
    if version:
        with pytest.raises(Exception, match="cannot be changed"):
            register("python:3.12")
    else:
        assert register("python:3.12") == "2"


def test_datastore(azureml, workspace, tmp_path):
    azureml.put_blob("folder/file", b"content")
    Datastore.get_default(workspace).download(str(tmp_path / "got"), prefix="folder")
    assert (tmp_path / "got/folder/file").read_bytes() == b"content"


def test_unknown_run(workspace):
    with pytest.raises(ServiceException):
        Run.get(workspace, "nobody")


def test_snapshot(azureml, workspace, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/main.py").write_text("print('from the snapshot')")
    environment = Environment("image")
    environment.python.user_managed_dependencies = True
    script = ScriptRunConfig(
        str(tmp_path / "code"), "main.py", compute_target="gpu-cluster", environment=environment
    )
    Experiment(workspace, "trials").submit(script, run_id="coded")
    assert azureml.wait_for("coded").logs == ["from the snapshot\n"]
