"""Both SDKs at once, in a process of its own: as users run them, with nothing but variables."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import os
from azure.ai.ml import MLClient, command
from azure.identity import DefaultAzureCredential
from azureml.core import Environment, Experiment, Model, Run, ScriptRunConfig, Workspace
from azureml.core.authentication import TokenAuthentication

parts = ("SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME")
names = [os.environ[f"AZUREML_{part}"] for part in parts]
client = MLClient(DefaultAzureCredential(), *names, show_progress=False, enable_telemetry=False)
token = os.environ["AZUREML_EMULATOR_TOKEN"]
workspace = Workspace(*names, auth=TokenAuthentication(lambda audience: token))
"""


@pytest.fixture
def run_script(azureml, tmp_path):
    def run_script(script):
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PRELUDE + textwrap.dedent(script)],
            env=azureml.process_environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    return run_script


def test_each_sees_what_the_other_did(run_script, tmp_path):
    (tmp_path / "net").mkdir()
    for name in ("a", "b"):
        (tmp_path / "net" / name).write_text(name)
    printed = run_script(
        """
        from azure.ai.ml.entities import Environment as Image, Model as AssetModel

        job = command(name="by-v2", command="true", environment=Image(image="python:3.11"),
                      compute="cpu-cluster", experiment_name="trials", tags={"sdk": "v2"})
        client.jobs.create_or_update(job)
        environment = Environment("image")
        environment.docker.base_image = "python:3.11"
        script = ScriptRunConfig("net", command="true", compute_target="cpu-cluster",
                                 environment=environment)
        script.run_config.history.snapshot_project = False
        experiment = Experiment(workspace, "trials")
        experiment.submit(script, run_id="by-v1", tags={"sdk": "v1"})
        print(sorted(job.name for job in client.jobs.list(tag="sdk")))
        print(sorted(run.id for run in Run.list(experiment, tags="sdk")))
        print(client.jobs.get("by-v1").tags, Run.get(workspace, "by-v2").get_tags())

        Model.register(workspace, model_path="net", model_name="of-v1")
        client.models.create_or_update(AssetModel(name="of-v2", path="net", type="custom_model"))
        client.models.download("of-v1", "1", download_path="v2")
        Model(workspace, "of-v2").download("v1")
        """
    )
    both = "['by-v1', 'by-v2']"
    assert printed[:3] == [both, both, "{'sdk': 'v1'} {'sdk': 'v2'}"]
    assert (tmp_path / "v2/of-v1/net/a").read_text() == "a"
    assert (tmp_path / "v1/net/b").read_text() == "b"


def test_many_submissions_at_a_time(azureml, run_script):
    run_script(
        """
        from concurrent.futures import ThreadPoolExecutor
        from azure.ai.ml.entities import Environment as Image

        client.environments.create_or_update(Image(name="image", version="1", image="python:3.11"))

        def submit(number):
            client.jobs.create_or_update(
                command(name=f"job-{number}", command="true", environment="image:1",
                        compute="cpu-cluster")
            )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(submit, range(50)))
        """
    )
    azureml.wait_until(lambda: all(job.status == "Completed" for job in azureml.jobs()))
    assert len(azureml.jobs()) == 50
