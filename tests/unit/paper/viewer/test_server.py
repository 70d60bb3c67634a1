from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from crossfold.errors import CrossfoldError
from crossfold.paper.viewer import server as module
from crossfold.paper.viewer.server import make_server
from crossfold.paper.viewer.study import Study
from tests.browser.tiny_run import make_run

STATIC = Path(module.__file__).parent / "static"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("served"), subjects=6, test=2)


@pytest.fixture(scope="module")
def port(results: Path) -> Iterator[int]:
    server = make_server(Study.read(results), 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def get(port: int, path: str, host: str = "localhost", method: str = "GET") -> HTTPResponse:
    """Ask for a path exactly as it is written."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    return connection.getresponse()


@pytest.mark.parametrize("path", ["/", "/viewer.css", "/viewer.js", "/niivue.js", "/?from=report"])
def test_the_page_and_its_parts_are_served(port: int, path: str) -> None:
    answer = get(port, path)
    assert answer.status == 200
    assert len(answer.read()) > 500


def test_the_subjects_are_json(port: int) -> None:
    answer = get(port, "/subjects.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert len(json.load(answer)["subjects"]) == 6


def test_volumes_are_compressed_nifti(port: int) -> None:
    answer = get(port, "/volumes/0/reference.nii.gz")
    assert answer.status == 200
    assert answer.read(2) == b"\x1f\x8b"


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/index.html",
        "/README.md",
        "/../server.py",
        "/viewer.js/../../server.py",
        "/%2e%2e/server.py",
        "/..%2fserver.py",
        "//etc/passwd",
        "/volumes/",
        "/volumes/0/",
        "/volumes/0/../../../metrics.csv",
        "/volumes/0/reference.nii.gz/../../../../metrics.csv",
        "/volumes/..%2f..%2fmetrics.csv",
        "/volumes/6/reference.nii.gz",
        "/volumes/-1/reference.nii.gz",
        "/volumes/0/image-2.nii.gz",
        "/volumes/0/image.nii.gz",
        "/volumes/0/reference-0.nii.gz",
        "/volumes/\xb2/reference.nii.gz",
        "/volumes/99999999999/reference.nii.gz",
        "/volumes/0/reference.nii.gz%0a",
    ],
)
def test_nothing_else_is_served(port: int, path: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    status = int(answer.split(maxsplit=2)[1])
    assert status in (400, 404)
    assert b"root:" not in answer
    assert b"import" not in answer


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1.evil.example", "localhost.", "[::"]
)
def test_a_page_elsewhere_cannot_pass_for_this_machine(port: int, host: str) -> None:
    assert get(port, "/subjects.json", host=host).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9999", "LOCALHOST", "[::1]:80"])
def test_a_tunnel_may_have_another_port(port: int, host: str) -> None:
    assert get(port, "/subjects.json", host=host).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(port: int, method: str) -> None:
    assert get(port, "/", method=method).status == 501


def test_other_pages_can_neither_read_nor_frame_it(port: int) -> None:
    headers = get(port, "/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


def test_it_listens_on_this_machine_only(results: Path) -> None:
    with make_server(Study.read(results), 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_port_in_use_is_said(results: Path, port: int) -> None:
    with pytest.raises(CrossfoldError, match=f"port {port} .* cannot be used") as caught:
        make_server(Study.read(results), port)
    assert "--port" in caught.value.remedy


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossfold.paper.viewer", str(tmp_path / "results" / "None")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_niivue_is_the_file_that_its_readme_says() -> None:
    scripts = list(STATIC.glob("niivue-*.js"))
    assert len(scripts) == 1
    readme = (STATIC / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(scripts[0].read_bytes()).hexdigest() in readme
    assert scripts[0].name in readme
    assert (STATIC / "LICENSES.txt").read_text(encoding="utf-8").startswith("NiiVue")
