"""Connecting, errors in the plugin's words, and manners of the SDKs."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
)
from snakemake_executor_plugin_azureml.client import Unavailable, connect
from snakemake_executor_plugin_azureml.client.blobs import StoreAddress
from snakemake_executor_plugin_azureml.client.errors import Refused, translate, translated
from snakemake_executor_plugin_azureml.jobs import JobSpec
from snakemake_executor_plugin_azureml.workspace import Workspace
from snakemake_interface_common.exceptions import WorkflowError

WORKSPACE = Workspace(subscription_id="sub", resource_group="group", workspace_name="space")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in which every warning would be printed."""
    source = str(Path(__file__).parents[1] / "src")
    return subprocess.run(
        [sys.executable, "-W", "default", "-c", code],
        env={"PATH": "", "HOME": "/nonexistent", "PYTHONPATH": source, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def http_error(status: int, headers: dict[str, str] | None = None) -> HttpResponseError:
    response = SimpleNamespace(
        status_code=status,
        headers=headers or {},
        reason="reason",
        body=lambda: b"",
        text=lambda: "",
    )
    return HttpResponseError("the answer", response=response)  # type: ignore[arg-type]


def test_importing_the_package_imports_no_sdk_and_is_fast() -> None:
    code = (
        "import sys, time; import snakemake_interface_executor_plugins.executors.remote\n"
        "start = time.perf_counter()\n"
        "import snakemake_executor_plugin_azureml.client.retrying\n"
        "print(time.perf_counter() - start)\n"
        "print([m for m in sys.modules if m.startswith(('azure', 'msrest', 'msal'))])"
    )
    seconds, modules = run_python(code).stdout.splitlines()
    assert modules == "[]"
    assert float(seconds) < 0.3


@pytest.mark.parametrize("sdk", ["v2", "v1"])
def test_connecting_sends_nothing_and_imports_only_the_sdk_that_is_used(sdk: str) -> None:
    other = {"v2": "azureml.core", "v1": "azure.ai.ml"}[sdk]
    code = (
        "import sys\n"
        "from snakemake_executor_plugin_azureml.client import connect\n"
        "from snakemake_executor_plugin_azureml.workspace import Workspace\n"
        "place = Workspace(subscription_id='s', resource_group='g', workspace_name='w')\n"
        f"client = connect({sdk!r}, place)\n"
        f"print({other!r} in sys.modules)"
    )
    start = time.monotonic()
    assert run_python(code).stdout == "False\n"
    assert time.monotonic() - start < 20  # not as long as waiting for an answer in vain


def test_azure_ai_ml_is_silent_and_leaves_the_environment_alone() -> None:
    code = (
        "import os\n"
        "from snakemake_executor_plugin_azureml.client.v2 import V2Client, _command\n"
        "from snakemake_executor_plugin_azureml.jobs import JobSpec\n"
        "from snakemake_executor_plugin_azureml.workspace import Workspace\n"
        "place = Workspace(subscription_id='s', resource_group='g', workspace_name='w')\n"
        "before = dict(os.environ)\n"
        "V2Client(place, object())._ml\n"
        "job = _command(JobSpec(name='a', experiment='e', command='c', environment='e:1',\n"
        "                       tier='low_priority', identity_client_id='i'))\n"
        "job._validate()\n"  # as submitting does first
        "print(sorted(set(os.environ.items()) ^ set(before.items())))"
    )
    result = run_python(code)
    assert result.stdout == "[]\n"
    assert result.stderr == ""


def test_an_unknown_sdk_is_refused() -> None:
    with pytest.raises(WorkflowError, match="'v3' is not one of v2 and v1"):
        connect("v3", WORKSPACE)  # type: ignore[arg-type]


def test_a_missing_sdk_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(WorkflowError, match=r"azureml-core.*pip install '.*\[v1\]'"):
        connect("v1", WORKSPACE)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 530])
def test_a_busy_service_is_worth_another_try(status: int) -> None:
    error = translate(http_error(status, {"Retry-After": "12"}), "list jobs")
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 12
    assert error.unclear == (status != 429)


@pytest.mark.parametrize(
    "failure",
    [
        ServiceRequestError("no route"),
        requests.ConnectionError("reset"),
        requests.ReadTimeout("slow"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
    ],
)
def test_a_lost_connection_is_worth_another_try(failure: Exception) -> None:
    assert isinstance(translate(failure, "list jobs"), Unavailable)


def test_the_reason_may_be_deep_down() -> None:
    class AzureMLException(Exception):  # noqa: N818
        inner_exception = requests.ConnectionError("reset")

    assert isinstance(translate(AzureMLException("wrapped"), "list jobs"), Unavailable)


def test_a_status_in_the_text_of_a_bare_exception_is_understood() -> None:
    bare = Exception("Error retrieving the environment definition. Code: 503\n: busy")
    assert isinstance(translate(bare, "look up"), Unavailable)
    missing = translate(Exception("Error. Code: 404\n: gone"), "look up")
    assert isinstance(missing, Refused)
    assert missing.status == 404


def test_a_certificate_that_is_not_trusted_is_not_waited_for() -> None:
    error = ServiceRequestError("certificate verify failed")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert isinstance(translate(error, "list jobs"), Refused)


@pytest.mark.parametrize("failure", [http_error(403), ClientAuthenticationError("no credential")])
def test_who_is_not_allowed_is_told_what_to_do(failure: Exception) -> None:
    error = translate(failure, "submit train-1")
    assert isinstance(error, Refused)
    assert "Not allowed to submit train-1" in str(error)
    assert "az login" in str(error)


def test_a_refusal_keeps_its_reason_and_no_trace_of_the_sdk() -> None:
    with (
        pytest.raises(Refused, match="refused to submit train-1: no such cluster") as caught,
        translated("submit train-1"),
    ):
        raise ResourceNotFoundError("no such cluster")
    assert caught.value.__suppress_context__


def test_an_error_that_cannot_be_printed_is_described() -> None:
    class ServiceException(Exception):  # noqa: N818
        status_code = 400

        def __str__(self) -> str:
            raise TypeError("details is None")

    assert "ServiceException" in str(translate(ServiceException(), "list jobs"))


def test_signatures_are_not_repeated() -> None:
    failure = requests.ConnectionError(
        "Max retries exceeded with url: /c/blob?sv=1&sig=abc%3D&se=2"
    )
    assert "abc" not in str(translate(failure, "read a log"))


def test_an_address_hides_what_opens_it_and_knows_until_when() -> None:
    address = StoreAddress(
        url="https://x", container="c", sas="se=2026-11-22T10%3A00%3A00Z&sig=abc", account_key="key"
    )
    assert repr(address) == "StoreAddress(url='https://x', container='c')"
    assert address.expires == 1795341600
    assert StoreAddress(url="https://x", container="c").expires == float("inf")


def test_a_command_that_looks_like_a_template_arrives_as_it_is(tmp_path: Path) -> None:
    from snakemake_executor_plugin_azureml.client.v2 import _shell

    command = "printf '%s' '${{inputs.x}} $HOME \"quoted\"'"
    spec = JobSpec(name="a", experiment="e", command=command, environment="e:1")
    assert "${{" not in _shell(spec)
    done = subprocess.run(["bash", "-c", _shell(spec)], capture_output=True, text=True, check=True)
    assert done.stdout == '${{inputs.x}} $HOME "quoted"'


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"compute": ""}, "names no compute.*azureml-compute"),
        ({"inputs": {"data": "azureml:prostate:1"}}, "data: azureml:prostate:1 is not azureml://"),
    ],
)
def test_what_azureml_core_cannot_do_is_said(
    changed: dict[str, object], message: str, tmp_path: Path
) -> None:
    from snakemake_executor_plugin_azureml.client.v1 import _run_config, _sdk

    usual = {"name": "a", "experiment": "e", "command": "c", "environment": "e:1", "compute": "gpu"}
    with pytest.raises(WorkflowError, match=message):
        _run_config(JobSpec(**{**usual, **changed}), _sdk().Environment("e"), str(tmp_path))  # type: ignore[arg-type]
