"""The runner as a job starts it: a process of its own, the store a plain folder."""

import ast
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from snakemake_executor_plugin_azureml import runner
from snakemake_executor_plugin_azureml.runner import Forwarding, blob_path, find, give, write_whole

RUNNER = Path(runner.__file__)


class Cluster:
    """A store, and a node that runs its jobs."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.node = folder / "node"
        self.node.mkdir(parents=True)
        self.folder = folder

    def submit(self, command: str, **fields: Any) -> None:
        """Write the manifest of a job whose sources are `Snakefile` and a link to it."""
        (self.folder / "Snakefile").write_text("rule all:\n")
        with tarfile.open(self.folder / "sources.tar", "w") as sources:
            sources.add(self.folder / "Snakefile", "Snakefile")
            latest = tarfile.TarInfo("latest")
            latest.type, latest.linkname = tarfile.SYMTYPE, "Snakefile"
            sources.addfile(latest)
        manifest = {
            "command": command,
            "sources": give(self.store, "", self.folder / "sources.tar")["digest"],
            "inputs": {"files": [], "directories": [], "links": {}},
            "outputs": [],
            "logs": [],
            "benchmarks": [],
            "depth": 0,
            "environment": {},
            "mounts": {},
            **fields,
        }
        write_whole(
            self.store / "jobs" / "train-1" / "manifest.json",
            lambda part: part.write_text(json.dumps(manifest)),
        )

    def file(self, path: str, content: bytes, mode: int = 0o644) -> dict[str, Any]:
        """Put the content of an input into the store."""
        local = self.folder / "local"
        local.write_bytes(content)
        return give(self.store, path, local) | {"mode": mode}

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", RUNNER, self.store, "train-1", *options],
            cwd=self.node,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*options)
        printed, _ = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, printed)

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.store / "jobs" / "train-1" / "result.json").read_text())

    def content(self, digest: str) -> bytes:
        return (self.store / blob_path(digest)).read_bytes()

    def products(self) -> dict[str, bytes]:
        return {
            file["path"]: self.content(file["digest"]) for file in self.result["products"]["files"]
        }


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_needs_the_standard_library_only() -> None:
    imports = [
        name.partition(".")[0]
        for node in ast.walk(ast.parse(RUNNER.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    ]
    assert set(imports) <= sys.stdlib_module_names


def test_files_arrive_and_products_are_handed_over(cluster: Cluster) -> None:
    cluster.submit(
        "cat Snakefile data/scan.nii && test -x tools/segment && test -d data/empty"
        " && test $(readlink data/latest) = scan.nii && mkdir -p out/none"
        " && echo dice > out/metrics.csv && ln -s metrics.csv out/same && echo model > model.bin"
        " && chmod 750 model.bin && touch out/.snakemake_timestamp"
        " && echo trained > train.log && echo 1.5 > train.tsv",
        inputs={
            "files": [
                cluster.file("data/scan.nii", b"voxels\n"),
                cluster.file("tools/segment", b"", mode=0o755),
            ],
            "directories": ["data", "data/empty"],
            "links": {"data/latest": "scan.nii"},
        },
        outputs=["out", "model.bin"],
        logs=["train.log"],
        benchmarks=["train.tsv"],
    )
    run = cluster.run()
    assert run.returncode == 0, run.stdout
    assert "rule all:\nvoxels\n" in run.stdout
    assert cluster.products() == {
        "out/metrics.csv": b"dice\n",
        "model.bin": b"model\n",
        "train.log": b"trained\n",
        "train.tsv": b"1.5\n",
    }
    result = cluster.result
    assert result["products"]["directories"] == ["out", "out/none"]
    assert result["products"]["links"] == {"out/same": "metrics.csv"}
    [model] = [file for file in result["products"]["files"] if file["path"] == "model.bin"]
    assert (model["mode"], model["size"]) == (0o750, 6)
    assert result["exit_code"] == 0
    assert result["error"] == ""
    assert cluster.content(result["printed"]) == b"rule all:\nvoxels\n"
    assert {*result["durations_s"]} == {"sources", "inputs", "command", "outputs"}
    assert result["runner_started"] <= result["command_started"]
    assert result["host"]["cores"] == os.cpu_count()
    assert not list(cluster.store.rglob("*.part"))


def test_a_failed_command_hands_over_logs_and_no_outputs(cluster: Cluster) -> None:
    cluster.submit(
        "echo half > model.bin; echo diverged | tee train.log; echo 1 > train.tsv; exit 3",
        outputs=["model.bin"],
        logs=["train.log", "never_written.log"],
        benchmarks=["train.tsv"],
    )
    assert cluster.run().returncode == 3
    assert cluster.result["exit_code"] == 3
    assert cluster.products() == {"train.log": b"diverged\n", "train.tsv": b"1\n"}
    assert cluster.content(cluster.result["printed"]) == b"diverged\n"


def test_sigterm_reaches_what_the_command_started(cluster: Cluster) -> None:
    script = (
        "import pathlib, signal, sys, time\n"
        "def save(*_):\n"
        "    time.sleep(0.5)\n"
        "    pathlib.Path('train.log').write_text('saved')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "pathlib.Path('started').touch()\n"
        "time.sleep(60)\n"
    )
    cluster.submit(
        f"{sys.executable} train.py && echo never",
        inputs={
            "files": [cluster.file("train.py", script.encode())],
            "directories": [],
            "links": {},
        },
        logs=["train.log"],
        outputs=["started"],
    )
    process = cluster.start()
    wait_until((cluster.node / "work" / "started").exists)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM, printed
    assert cluster.result["signal"] == "SIGTERM"
    assert cluster.products() == {"train.log": b"saved"}


def test_a_command_that_ignores_sigterm_is_killed(cluster: Cluster) -> None:
    cluster.submit("trap '' TERM; touch started; while true; do sleep 0.1; done")
    process = cluster.start("--grace-s", "0.3")
    wait_until((cluster.node / "work" / "started").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGKILL


def test_sigterm_before_the_command_ends_the_job_at_once(cluster: Cluster) -> None:
    cluster.submit("echo never")
    manifest = cluster.store / "jobs" / "train-1" / "manifest.json"
    manifest.unlink()
    os.mkfifo(manifest)  # reading it takes for ever
    process = cluster.start()
    wait_until((cluster.node / "work").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM


def test_a_signal_while_the_command_is_started_reaches_it(
    restored_handlers: None,
) -> None:
    def start() -> subprocess.Popen[bytes]:
        os.kill(os.getpid(), signal.SIGTERM)
        return subprocess.Popen(["sleep", "60"], start_new_session=True)

    with Forwarding(grace_s=60).to(start) as process:
        assert process.wait(timeout=20) == -signal.SIGTERM


@pytest.fixture
def restored_handlers() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_process_left_behind_does_not_hold_up_the_job(cluster: Cluster) -> None:
    cluster.submit("sleep 60 & echo $! > sleep.log", logs=["sleep.log"])
    assert cluster.run("--grace-s", "0.3").returncode == 0
    left_behind = int(cluster.products()["sleep.log"])
    wait_until(lambda: not is_running(left_behind))


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "zombie" not in status.read_text()


def test_after_a_preemption_a_job_starts_clean_but_keeps_its_mounts(cluster: Cluster) -> None:
    cluster.submit(
        "test ! -e half_written && touch half_written && echo epoch >> .state/epochs"
        " && cp .state/epochs epochs.csv",
        mounts={".state": "persistent/prostate/.state"},
        outputs=["epochs.csv"],
    )
    for start in (1, 2):
        stale = cluster.store / "jobs" / "train-1" / "result.json"
        stale.write_text("stale")
        assert cluster.run().returncode == 0
        assert cluster.products() == {"epochs.csv": b"epoch\n" * start}
    assert (cluster.store / "persistent/prostate/.state/epochs").read_bytes() == b"epoch\n" * 2


def test_no_result_is_there_while_the_job_runs_again(cluster: Cluster) -> None:
    result = cluster.store / "jobs" / "train-1" / "result.json"
    cluster.submit(f"test ! -e {result}")
    result.write_text("stale")
    assert cluster.run().returncode == 0


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_an_input_that_is_not_as_it_was_keeps_the_command_from_starting(
    cluster: Cluster, damage: str
) -> None:
    file = cluster.file("data/scan.nii", b"voxels")
    cluster.submit("touch started", inputs={"files": [file], "directories": [], "links": {}})
    blob = cluster.store / blob_path(file["digest"])
    if damage == "changed":
        blob.write_bytes(b"VOXELS")
    else:
        blob.unlink()
    run = cluster.run()
    assert run.returncode == runner.EXIT_NOT_RUN
    assert not (cluster.node / "work" / "started").exists()
    assert cluster.result["exit_code"] == -1
    assert cluster.result["error"].startswith("scan.nii is ")
    assert blob_path(file["digest"]) in cluster.result["error"]
    assert cluster.result["error"] in run.stdout
    assert "Traceback" not in run.stdout


def test_paths_above_the_working_directory_stay_inside_the_node(cluster: Cluster) -> None:
    cluster.submit(
        "cat ../lab/config.yaml > ../../copy.yaml",
        inputs={
            "files": [cluster.file("../lab/config.yaml", b"epochs: 3")],
            "directories": [],
            "links": {},
        },
        outputs=["../../copy.yaml"],
        depth=2,
    )
    assert cluster.run().returncode == 0
    assert cluster.products() == {"../../copy.yaml": b"epochs: 3"}
    assert [path.name for path in cluster.node.iterdir()] == ["work"]


def test_an_input_replaces_a_link_of_the_sources(cluster: Cluster) -> None:
    cluster.submit(
        "cat latest Snakefile",
        inputs={
            "files": [cluster.file("latest", b"newer")],
            "directories": [],
            "links": {},
        },
    )
    assert "newerrule all:" in cluster.run().stdout


def test_the_environment_reaches_the_command_and_nothing_else(cluster: Cluster) -> None:
    cluster.submit(
        'test "$SMK_TOKEN" = hunter2 && test -n "$PATH"', environment={"SMK_TOKEN": "hunter2"}
    )
    run = cluster.run()
    assert run.returncode == 0
    assert "hunter2" not in run.stdout
    assert "hunter2" not in json.dumps(cluster.result)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_on_several_nodes_the_first_one_speaks_for_all(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    cluster.submit('echo $RANK > model.bin; exit "$RANK"', outputs=["model.bin"])
    result = cluster.store / "jobs" / "train-1" / "result.json"
    result.write_text("of another node")
    before = {*cluster.store.rglob("*")}
    assert cluster.run().returncode == int(rank)
    if rank == "0":
        assert cluster.products() == {"model.bin": b"0\n"}
    else:
        assert result.read_text() == "of another node"
        assert {*cluster.store.rglob("*")} == before


def test_what_the_command_prints_is_shown_as_it_comes(cluster: Cluster) -> None:
    cluster.submit("printf 'epoch 1'; while ! test -e go; do sleep 0.05; done")
    process = cluster.start()
    assert process.stdout is not None
    printed = ""
    while not printed.endswith("epoch 1"):
        printed += process.stdout.read(1)
    (cluster.node / "work" / "go").touch()
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_outputs_that_are_in_the_store_are_not_copied_again(cluster: Cluster) -> None:
    cluster.submit("printf same > model.bin", outputs=["model.bin"])
    cluster.run()
    blob = cluster.store / blob_path(cluster.result["products"]["files"][0]["digest"])
    before = blob.stat()
    cluster.run()
    assert (blob.stat().st_ino, blob.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    blob.write_bytes(b"sa")  # a copy that was cut short, on a mount that cannot rename
    cluster.run()
    assert blob.read_bytes() == b"same"


def test_a_mount_that_cannot_rename_is_written_to_directly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "replace", refuse)
    write_whole(tmp_path / "result.json", lambda part: part.write_text("{}"))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("result.json", "{}")]


def test_a_directory_is_found_with_its_links(tmp_path: Path) -> None:
    fold = tmp_path / "fold"
    (fold / "epochs").mkdir(parents=True)
    (fold / "epochs" / "2.bin").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "scan.nii").touch()
    (fold / "last").symlink_to("epochs/2.bin")
    (fold / "scans").symlink_to("../elsewhere")
    (fold / "absolute").symlink_to(fold / "epochs" / "2.bin")
    (fold / "lost").symlink_to("../nowhere")
    (fold / "circle").symlink_to(tmp_path)
    os.mkfifo(fold / "pipe")
    found = find(["fold", "fold", "missing"], tmp_path)
    assert "fold/scans/scan.nii" in found.files
    assert "fold/absolute" in found.files
    assert found.links["fold/last"] == "epochs/2.bin"
    assert "fold/lost" in found.unusable
    assert "fold/circle/fold" in found.unusable
    assert not any(path.endswith("pipe") for path in found.files)


def test_an_old_python_says_so() -> None:
    pretend = (
        "import runpy, sys; sys.version_info = (3, 10);"
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    run = subprocess.run(
        [sys.executable, "-c", pretend, RUNNER], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr == "The environment of a job needs Python 3.11 or newer.\n"
