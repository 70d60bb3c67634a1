"""What `Client` promises, kept by both SDKs against the same emulator."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from snakemake_executor_plugin_azureml.client import JobNotFound, Sdk, Unavailable, connect
from snakemake_executor_plugin_azureml.client.retrying import Patience, RetryingClient
from snakemake_executor_plugin_azureml.jobs import (
    TERMINAL,
    EnvironmentSpec,
    JobInfo,
    JobSpec,
    mount_variable,
)
from snakemake_executor_plugin_azureml.workspace import find_workspace
from snakemake_interface_common.exceptions import WorkflowError

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

SESSION = """
import sys
from snakemake_executor_plugin_azureml.client import connect
from snakemake_executor_plugin_azureml.jobs import EnvironmentSpec, JobSpec
from snakemake_executor_plugin_azureml.workspace import find_workspace

client = connect(sys.argv[1], find_workspace())
environment = client.ensure_environment(EnvironmentSpec(name="quiet", image="python:3.12"))
client.submit(
    JobSpec(
        name="train-1",
        experiment="main",
        command="sleep 60",
        environment=environment,
        compute="gpu-cluster",
        tags={"rule": "train"},
        mounts={"store": "azureml://datastores/workspaceblobstore/paths/project/"},
        nodes=2,
        processes_per_node=2,
        identity_client_id="00000000-0000-0000-0000-000000000003",
    )
)
assert len(list(client.list(tags={"rule": "train"}, experiment="main"))) == 1
client.log_tail("train-1")
"""

EVERY_SDK: tuple[Sdk, ...] = ("v2", "v1")
SOFTWARE = EnvironmentSpec(
    name="gpu", image="mcr.example.org/pipeline:1", conda="dependencies:\n- python=3.12\n"
)
SECRET = "s3cret-Of-The-Principal"

SpecMaker = Callable[..., JobSpec]


@pytest.fixture(params=EVERY_SDK)
def client(
    request: pytest.FixtureRequest,
    azureml_here: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> RetryingClient:
    """A client of the emulator's workspace, in a folder without git or config.json."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", SECRET)
    return connect(request.param, find_workspace(), patience=Patience(total_s=20, first_s=0.05))


@pytest.fixture
def make_spec(client: RetryingClient) -> SpecMaker:
    """Make specifications that differ from each other in what a test is about."""
    environment = client.ensure_environment(SOFTWARE)

    def make_spec(name: str, command: str = "true", **changed: object) -> JobSpec:
        usual = {
            "display_name": f"rule {name}",
            "experiment": "main",
            "environment": environment,
            "compute": "gpu-cluster",
            "tags": {"workflow-1a2b": "yes", "rule": "train"},
        }
        return JobSpec(name=name, command=command, **{**usual, **changed})

    return make_spec


def api_requests(azureml: Emulator) -> int:
    """Number of requests since the last `forget_requests`."""
    time.sleep(0.1)  # a request is recorded when its answer has been sent
    return len(azureml.requests(service="api"))


def wait_until_over(client: RetryingClient, name: str) -> JobInfo:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        info = client.get(name)
        if info.status in TERMINAL:
            return info
        time.sleep(0.1)
    raise TimeoutError(name)


def test_a_job_runs_with_what_it_was_given(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator
) -> None:
    azureml.put_blob("project/in/numbers.txt", b"1 2 3")
    folder = f"${mount_variable('store')}"
    submitted = client.submit(
        make_spec(
            "train-1",
            f"cat {folder}/in/numbers.txt > {folder}/out.txt\n"
            "echo $GREETING '${{x}}'\n"
            "echo two",
            mounts={"store": "azureml://datastores/workspaceblobstore/paths/project/"},
            env={"GREETING": "hello"},
            timeout_s=600,
        )
    )
    assert submitted.name == "train-1"
    assert submitted.status not in TERMINAL
    finished = wait_until_over(client, "train-1")
    assert finished.status == "Completed"
    assert finished.experiment == "main"
    assert finished.tags == {"workflow-1a2b": "yes", "rule": "train"}
    assert finished.created is not None
    assert abs(time.time() - finished.created.timestamp()) < 60
    assert "train-1" in finished.url
    assert client.log_tail("train-1") == ["hello ${{x}}", "two"]
    assert client.log_tail("train-1", lines=1) == ["two"]
    assert azureml.blobs("project/out.txt") == {"project/out.txt": b"1 2 3"}


def test_a_name_is_submitted_once(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator
) -> None:
    client.submit(make_spec("train-1", "echo first"))
    wait_until_over(client, "train-1")
    again = client.submit(make_spec("train-1", "echo second"))
    assert again.status == "Completed"
    assert len(azureml.jobs()) == 1
    assert client.log_tail("train-1") == ["first"]


def test_a_failed_job_is_failed(client: RetryingClient, make_spec: SpecMaker) -> None:
    client.submit(make_spec("train-1", "echo no memory; exit 3"))
    assert wait_until_over(client, "train-1").status == "Failed"
    assert client.log_tail("train-1")[-1] == "no memory"


def test_jobs_may_be_submitted_from_several_threads(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator
) -> None:
    azureml.add_fault("stuck", count=1000)
    done = threading.Event()
    places = set()

    def watch() -> None:
        while not done.is_set():
            places.add(Path.cwd())

    with ThreadPoolExecutor(5) as pool:
        pool.submit(watch)
        specs = [make_spec(f"train-{index}") for index in range(12)]
        submitted = [info.name for info in list(pool.map(client.submit, specs))]
        done.set()
    assert submitted == [spec.name for spec in specs]
    assert len(azureml.jobs()) == 12
    assert len(places) == 1, "the working directory belongs to all threads"


def test_a_job_that_was_never_submitted_is_not_found(client: RetryingClient) -> None:
    with pytest.raises(JobNotFound, match="no job train-9"):
        client.get("train-9")
    with pytest.raises(JobNotFound, match="no job train-9"):
        client.cancel("train-9")


def test_cancelling_ends_a_job_and_leaves_an_ended_one(
    client: RetryingClient, make_spec: SpecMaker
) -> None:
    client.submit(make_spec("train-1", "sleep 60"))
    client.cancel("train-1")
    assert wait_until_over(client, "train-1").status == "Canceled"
    client.submit(make_spec("train-2"))
    wait_until_over(client, "train-2")
    client.cancel("train-2")
    assert client.get("train-2").status == "Completed"


def test_list_finds_jobs_by_all_tags_in_one_request(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator
) -> None:
    azureml.add_fault("stuck", count=1000)
    for index in range(12):
        client.submit(make_spec(f"train-{index}"))
    client.submit(make_spec("infer-1", tags={"workflow-1a2b": "yes", "rule": "infer"}))
    client.submit(make_spec("other-1", tags={"workflow-9z": "yes", "rule": "train"}))
    azureml.forget_requests()
    wanted = {"workflow-1a2b": "yes", "rule": "train"}
    found = list(client.list(tags=wanted, experiment="main"))
    assert {info.name for info in found} == {f"train-{index}" for index in range(12)}
    assert all(info.tags == wanted and info.experiment == "main" for info in found)
    assert api_requests(azureml) == 1
    assert list(client.list(tags={"workflow-1a2b": "no"}, experiment="main")) == []
    assert len(list(client.list(tags={"rule": "train"}))) == 13


def test_download_brings_files_up_to_date(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator, tmp_path: Path
) -> None:
    client.submit(
        make_spec(
            "train-1", "mkdir -p logs outputs; echo a > logs/a; echo b > logs/b; echo c > outputs/c"
        )
    )
    wait_until_over(client, "train-1")
    client.download("train-1", tmp_path / "run", prefix="logs/")
    files = {
        path.name: path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file()
    }
    assert files == {"a": "a\n", "b": "b\n"}
    azureml.forget_requests()
    client.download("train-1", tmp_path / "run", prefix="logs/")
    time.sleep(0.1)
    assert len(azureml.requests(service="blob")) == 1  # the listing
    (tmp_path / "run" / "logs" / "a").write_text("half")
    client.download("train-1", tmp_path / "run", prefix="logs/")
    assert (tmp_path / "run" / "logs" / "a").read_text() == "a\n"


def test_the_log_of_a_running_job_can_be_read(client: RetryingClient, make_spec: SpecMaker) -> None:
    client.submit(make_spec("train-1", "echo epoch 1; sleep 60"))
    deadline = time.monotonic() + 20
    while not client.log_tail("train-1") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert client.log_tail("train-1") == ["epoch 1"]
    client.cancel("train-1")


@pytest.mark.parametrize("sdk", EVERY_SDK)
def test_the_sdks_keep_quiet(azureml: Emulator, sdk: Sdk) -> None:
    session = subprocess.run(
        [sys.executable, "-W", "default", "-c", SESSION, sdk],
        env=azureml.process_environment | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        cwd=azureml.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (session.stdout, session.stderr, session.returncode) == ("", "", 0)


def test_an_environment_is_registered_once(client: RetryingClient, azureml: Emulator) -> None:
    name_version = client.ensure_environment(SOFTWARE)
    assert name_version == f"gpu:{SOFTWARE.version}"
    azureml.forget_requests()
    assert client.ensure_environment(SOFTWARE) == name_version
    assert api_requests(azureml) == 0
    image_only = EnvironmentSpec(name="plain", image="python:3.12")
    assert client.ensure_environment(image_only) == f"plain:{image_only.version}"


def test_the_container_of_a_datastore_can_be_written_and_read(
    client: RetryingClient, azureml: Emulator
) -> None:
    container = client.container("workspaceblobstore")
    container.upload_blob("project/blobs/ab", b"content")
    assert azureml.blobs("project/") == {"project/blobs/ab": b"content"}
    assert container.download_blob("project/blobs/ab").readall() == b"content"
    azureml.forget_requests()
    assert client.container("workspaceblobstore") is container
    assert api_requests(azureml) == 0


def test_models_come_back_as_they_were_registered(client: RetryingClient, tmp_path: Path) -> None:
    bundle = tmp_path / "elsewhere" / "bundle"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "fold_0.safetensors").write_bytes(b"weights")
    (bundle / "readme.md").write_text("one")
    first = client.register_model("ensemble", bundle, tags={"dice": "0.9"}, description="Test")
    (bundle / "readme.md").write_text("two")
    second = client.register_model("ensemble", bundle, tags={"dice": "0.9"})
    assert first == "ensemble:1"
    assert second == "ensemble:2"
    assert list(Path.cwd().iterdir()) == []
    old = client.download_model(first, tmp_path / "old")
    assert old == tmp_path / "old" / "bundle"
    assert (old / "models" / "fold_0.safetensors").read_bytes() == b"weights"
    assert (old / "readme.md").read_text() == "one"
    newest = client.download_model("ensemble", tmp_path / "newest")
    assert (newest / "readme.md").read_text() == "two"


def test_models_are_listed_and_tagged(client: RetryingClient, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    for name, dice in (("lung", "0.8"), ("ensemble", "0.9"), ("ensemble", "0.91")):
        (tmp_path / "weights.bin").write_text(dice)
        tags = {"dice": dice, "run": "one"}
        client.register_model(name, tmp_path / "weights.bin", tags=tags, description=f"By {name}")
    newest, oldest = client.list_models("ensemble")
    assert (newest.name, newest.version, oldest.version) == ("ensemble", 2, 1)
    assert newest.tags == {"dice": "0.91", "run": "one"}
    assert newest.description == "By ensemble"
    assert newest.created is not None
    assert sorted(f"{model.name}:{model.version}" for model in client.list_models()) == [
        *("ensemble:1", "ensemble:2", "lung:1"),
    ]
    assert list(client.list_models("nobody")) == []
    client.tag_model("ensemble:1", {"run": "two", "current": "yes"})
    newest, oldest = client.list_models("ensemble")
    assert oldest.tags == {"dice": "0.9", "run": "two", "current": "yes"}
    assert newest.tags == {"dice": "0.91", "run": "one"}
    downloaded = client.download_model("ensemble:1", tmp_path / "down")
    assert downloaded.read_text() == "0.9"


def test_a_model_may_be_a_single_file(client: RetryingClient, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    name_version = client.register_model("single", tmp_path / "weights.bin", tags={})
    downloaded = client.download_model(name_version, tmp_path / "down")
    assert downloaded == tmp_path / "down" / "weights.bin"
    assert downloaded.read_bytes() == b"weights"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "throttle", "retry_after_s": 1},
        {"kind": "error", "status": 503},
        {"kind": "drop"},
        {"kind": "drop", "after": True},
    ],
    ids=["throttled", "unavailable", "lost request", "lost answer"],
)
def test_a_job_is_submitted_once_whatever_happens_to_the_request(
    client: RetryingClient,
    make_spec: SpecMaker,
    azureml: Emulator,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, object],
) -> None:
    client.submit(make_spec("train-0"))
    for method in ("PUT", "POST", "PATCH"):
        azureml.add_fault(method=method, path="train-1|snapshotrun", **fault)
    with caplog.at_level(logging.INFO):
        info = client.submit(make_spec("train-1", "echo once"))
    assert info.name == "train-1"
    assert info.tags == {"workflow-1a2b": "yes", "rule": "train"}
    assert wait_until_over(client, "train-1").status == "Completed"
    assert [job.name for job in azureml.jobs()] == ["train-0", "train-1"]
    assert azureml.job("train-1").runs == 1
    assert client.log_tail("train-1") == ["once"]
    said = [record.message for record in caplog.records if "retrying" in record.name]
    assert len([line for line in said if "Trying again" in line]) == 1
    assert len([line for line in said if "answers again" in line]) == 1


def test_a_throttled_client_waits_as_long_as_it_is_told(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator
) -> None:
    client.submit(make_spec("train-1"))
    azureml.throttle("train-1", retry_after_s=2)
    started = time.monotonic()
    assert client.get("train-1").name == "train-1"
    assert time.monotonic() - started >= 2


def test_polling_survives_an_outage_and_then_gives_up(
    client: RetryingClient, make_spec: SpecMaker, azureml: Emulator
) -> None:
    client.submit(make_spec("train-1"))
    azureml.add_fault("error", status=500, count=2)
    azureml.add_fault("drop", count=1)
    assert client.get("train-1").name == "train-1"
    azureml.add_fault("error", status=503, count=10_000)
    client._patience = Patience(total_s=0.5, first_s=0.05)
    with pytest.raises(Unavailable, match=r"could not list jobs.*HTTP 503"):
        list(client.list(tags={"rule": "train"}, experiment="main"))
    azureml.clear_faults()
    assert len(list(client.list(tags={"rule": "train"}, experiment="main"))) == 1


def test_what_cannot_be_is_refused_at_once(client: RetryingClient, make_spec: SpecMaker) -> None:
    with pytest.raises(WorkflowError, match="no-such-cluster"):
        client.submit(make_spec("train-1", compute="no-such-cluster"))


def test_no_secret_is_sent_or_said(
    client: RetryingClient,
    make_spec: SpecMaker,
    azureml: Emulator,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    errors = []
    with caplog.at_level(logging.DEBUG):
        container = client.container("workspaceblobstore")
        signature = container.url.partition("sig=")[2].partition("&")[0]
        container.upload_blob("file", b"1")
        client.submit(make_spec("train-1", "env"))
        wait_until_over(client, "train-1")
        azureml.add_fault("drop", service="blob", count=1000)
        client._patience = Patience(total_s=0.1, first_s=0.05)
        for attempt in (
            lambda: client.log_tail("train-1"),
            lambda: client.container("no-such-datastore"),
        ):
            with pytest.raises(WorkflowError) as caught:
                attempt()
            errors.append(f"{caught.value} {caught.value!r} {caught.value.__cause__}")
    azureml.clear_faults()
    tokens = [token.token for token in client._backend._credential._tokens.values()]
    said = caplog.text + "".join(capfd.readouterr()) + " ".join(errors) + repr(vars(client))
    in_job = " ".join(client.log_tail("train-1", lines=1000))
    sent = azureml.requests_file.read_text()
    assert signature
    assert signature not in said
    assert tokens
    for secret in (SECRET, *tokens):
        assert secret not in said
        assert secret not in in_job
        assert secret not in sent
