"""The emulator over plain HTTPS: states, faults, pages, records, the program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

TESTS = Path(__file__).parents[2]


@pytest.fixture
def http(azureml):
    """A session whose paths begin below the workspace."""

    class Session(requests.Session):
        def request(self, method, path, **settings):
            if not path.startswith("https:"):
                below = "" if path.startswith("/") else azureml.workspace.path + "/"
                path = f"{azureml.url}{below}{path}"
            return super().request(method, path, timeout=20, **settings)

    session = Session()
    session.trust_env = False
    session.verify = azureml.environment["REQUESTS_CA_BUNDLE"]
    session.headers["Authorization"] = "Bearer token-of-the-test"
    return session


@pytest.fixture
def submit(http):
    def submit(name, command="true", **properties):
        body = {"jobType": "Command", "command": command, **properties}
        return http.put(f"jobs/{name}", json={"properties": body})

    return submit


def test_states_in_order(azureml, http, submit):
    assert submit("a").json()["properties"]["status"] == "NotStarted"
    azureml.wait_for("a")
    assert http.get("jobs/a").json()["properties"]["status"] == "Completed"
    order = ["NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing", "Completed"]
    assert azureml.job("a").statuses == order


def test_resources_need_a_token(http):
    del http.headers["Authorization"]
    assert http.get("jobs").status_code == 401
    assert http.get("/discovery").status_code == 200


def test_unknown_things(http):
    assert http.get("jobs/nobody").json()["error"]["code"] == "ResourceNotFound"
    assert http.get("/subscriptions/a/resourceGroups/b/providers/x").status_code == 501
    other = "/subscriptions/a/resourceGroups/b/providers/Microsoft.MachineLearningServices"
    assert http.get(f"{other}/workspaces/c/jobs").status_code == 404
    assert http.get("computes/nobody").status_code == 404


def test_only_https_with_the_own_certificate(azureml):
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{azureml.url}/discovery")


def test_throttling(azureml, http):
    azureml.throttle("/jobs$", 2, retry_after_s=3)
    answers = [http.get("jobs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "3"
    assert http.get("/discovery").status_code == 200


def test_faults_over_http(azureml, http):
    faults = [{"kind": "error", "status": 500, "path": "/jobs", "method": "GET", "skip": 1}]
    assert http.post("/emulator/faults", json=faults).status_code == 201
    assert [http.get("jobs").status_code for _ in range(3)] == [200, 500, 200]
    assert http.get("/emulator/faults").json()[0]["used"] == 1
    assert http.delete("/emulator/faults").json() == []
    for wrong in ({"kind": "flood"}, {"kind": "drop", "pathh": ""}, {"kind": "drop", "path": "("}):
        assert http.post("/emulator/faults", json=wrong).status_code == 400


def test_dropped_request_has_no_effect_and_dropped_answer_has(azureml, submit):
    azureml.add_fault("drop", method="PUT")
    with pytest.raises(requests.ConnectionError):
        submit("lost")
    assert azureml.jobs() == []
    azureml.add_fault("drop", method="PUT", after=True)
    with pytest.raises(requests.ConnectionError):
        submit("unclear")
    assert azureml.wait_for("unclear").status == "Completed"


def test_delay(azureml, http):
    azureml.add_fault("delay", path="/jobs$", seconds=0.3)
    start = time.monotonic()
    assert http.get("jobs").status_code == 200
    assert time.monotonic() - start >= 0.3


def test_faults_of_the_blob_storage(azureml, http):
    azureml.put_blob("a", b"content")
    azureml.throttle("/a$", service="blob")
    url = azureml.blob_url("a")
    answers = [http.get(url) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [429, 200]
    assert answers[1].content == b"content"


def test_job_that_fails_at_its_start(azureml, submit):
    azureml.add_fault("fail_at_start", job="^b")
    submit("a")
    submit("b")
    assert azureml.wait_for("a").status == "Completed"
    assert azureml.wait_for("b").status == "Failed"
    assert (azureml.job("b").runs, "Running" in azureml.job("b").statuses) == (0, False)


def test_stuck_job_can_be_canceled_or_set_free(azureml, http, submit):
    azureml.add_fault("stuck", count=2)
    for name in ("a", "b"):
        submit(name)
    azureml.wait_for("b", "Queued")
    assert http.post("jobs/a/cancel").status_code == 202
    assert azureml.wait_for("a").status == "Canceled"
    assert azureml.job("b").status == "Queued"
    azureml.clear_faults()
    assert azureml.wait_for("b").status == "Completed"


@pytest.mark.parametrize("when", [{"seconds": 0.2}, {"log": "step 1"}])
def test_preemption(azureml, submit, when):
    azureml.preempt("train", count=2, **when)
    submit("train", "echo step 1; sleep 60")
    expected = ["Queued", "Running"] * 3
    azureml.wait_until(lambda: azureml.job("train").statuses[3:] == expected)
    assert azureml.job("train").exit_codes == [None, None]


def test_preemption_kills_the_whole_process_group(azureml, submit, tmp_path):
    azureml.preempt("train", log="started")
    beat = tmp_path / "beat"
    submit(
        "train",
        f"test -e {beat} && exit; (while sleep 0.1; do touch {beat}; done) & "
        f"touch {beat}; echo started; wait",
    )
    azureml.wait_for("train")
    last = beat.stat().st_mtime_ns
    time.sleep(0.4)
    assert beat.stat().st_mtime_ns == last


def test_cancel_is_polite_first(azureml, http, submit):
    submit("a", "trap 'echo goodbye; exit 3' TERM; echo ready; sleep 60 & wait")
    log = "ExperimentRun/dcid.a/user_logs/std_log.txt"
    azureml.wait_until(lambda: azureml.blobs(log, "workspaceartifactstore").get(log) == b"ready\n")
    http.post("jobs/a/cancel")
    assert azureml.wait_for("a").status == "Canceled"
    assert azureml.job("a").logs == ["ready\ngoodbye\n"]


def test_environment_of_a_job_is_clean(azureml, submit, monkeypatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "must not be seen")
    submit("a", "env; ls -A", environmentVariables={"COLOUR": "blue"})
    variables = dict(line.split("=", 1) for line in azureml.wait_for("a").logs[0].splitlines())
    assert variables["COLOUR"] == "blue"
    assert variables["AZUREML_RUN_ID"] == "a"
    assert {"AZURE_CLIENT_SECRET", "REQUESTS_CA_BUNDLE", "PYTHONPATH"}.isdisjoint(variables)
    assert not Path(variables["HOME"]).exists()


def test_pages_and_filters(azureml, http, submit):
    submit("first", tags={"a": "1"}, properties={"workflow": "x"})
    definition = azureml.job("first").definition
    azureml.add_jobs({**definition, "tags": {"b": "1"}, "properties": {}}, count=150)
    page = http.get("jobs?tag=b").json()
    assert len(page["value"]) == 100
    submit("meanwhile", tags={"b": ""})
    rest = http.get(page["nextLink"]).json()
    assert len(rest["value"]) == 50
    assert "nextLink" not in rest
    names = lambda query: [job["name"] for job in http.get(f"jobs?{query}").json()["value"]]  # noqa: E731
    assert names("tag=a") == names("properties=workflow%3Dx") == names("properties=workflow")
    assert names("tag=a") == ["first"]
    assert names("tag=a%3D1") == names("properties=workflow%3Dy") == names("jobType=Sweep") == []


def test_polling_of_many_jobs_is_fast(azureml, http, submit):
    submit("first", tags={"a": ""})
    azureml.add_jobs(azureml.job("first").definition, count=500)
    start = time.monotonic()
    link, count = f"{azureml.url}{azureml.workspace.path}/jobs?tag=a", 0
    while link:
        page = http.get(link).json()
        link, count = page.get("nextLink"), count + len(page["value"])
    assert count == 501
    assert time.monotonic() - start < 2


def test_records_have_no_credentials(azureml, http, submit):
    submit("a", environmentVariables={"COLOUR": "blue"})
    http.put(
        azureml.blob_url("b"),
        b"\xff" * 10,
        headers={"x-ms-blob-type": "BlockBlob"},
    )
    text = azureml.requests_file.read_text()
    records = [json.loads(line) for line in text.splitlines()]
    assert [(record["service"], record["method"]) for record in records] == [
        ("api", "PUT"),
        ("blob", "PUT"),
    ]
    assert records[0]["body"]["properties"]["environmentVariables"] == {"COLOUR": "blue"}
    assert (records[1]["request_bytes"], records[1]["body"]) == (10, None)
    assert "token-of-the-test" not in text
    assert azureml.blob_url("b").partition("sig=")[2][:20] not in text
    azureml.forget_requests()
    assert azureml.requests() == []


def test_large_blob_passes_in_pieces(azureml, http):
    content = os.urandom(3_000_000)
    url = azureml.blob_url("large")
    headers = {"x-ms-blob-type": "BlockBlob"}
    assert http.put(url, content, headers=headers).ok
    assert http.get(url).content == content
    part = http.get(url, headers={"x-ms-range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, content[5:10])


@pytest.mark.parametrize("duration", ["PT100S", "PT1M40S", "P0DT0H1M40S", "PT1M40.0S"])
def test_durations(duration):
    from azureml_emulator.v2_jobs import seconds_of

    assert seconds_of(duration) == 100


def test_program(azurite, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "azureml_emulator", "--folder", tmp_path / "folder"],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(process.stdout.readline, "")
        exports = {}
        for line in lines:
            if line.startswith("#"):
                break
            name, _, value = line.removeprefix("export ").strip().partition("=")
            exports[name] = value
        answer = requests.get(
            exports["ARM_CLOUD_METADATA_URL"], verify=exports["SSL_CERT_FILE"], timeout=10
        )
        assert answer.json()[0]["name"] == exports["AZUREML_CURRENT_CLOUD"]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_two_at_a_time_are_apart(azureml, azurite, tmp_path):
    from azureml_emulator.emulator import Emulator

    (tmp_path / "other").mkdir()
    with Emulator(azurite, tmp_path / "other") as other:
        azureml.put_blob("a", b"here")
        assert other.blobs() == {}
        assert other.url != azureml.url
