from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crossfold.__main__ import main
from crossfold.commands.azureml import Choice, Workspace
from crossfold.commands.curves import Curves
from crossfold.commands.local import find_trainings, label_of, read_training
from crossfold.commands.runs import duration_text, table_text
from crossfold.commands.tensorboard import free_port, serving
from crossfold.errors import CrossfoldError
from crossfold.learning.event_files import EventFiles
from crossfold.registry.workspace import PLUGIN

REPOSITORY = Path(__file__).parents[2]
VARIABLES = ("AZUREML_SUBSCRIPTION_ID", "AZUREML_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")


def write_training(table: Path, epochs: int, *, seconds: float = 2.0) -> Path:
    table.parent.mkdir(parents=True, exist_ok=True)
    rows = ["epoch,phase,metric,value,lr,seconds"]
    for epoch in range(1, epochs + 1):
        rows.append(f"{epoch},train,loss,{1 / epoch},0.01,{seconds}")
        rows.append(f"{epoch},train,dice_a,0.5,0.01,{seconds}")
    rows.append(f"{epochs},val,loss,0.25,0.01,{seconds / 2}")
    table.write_text("\n".join(rows) + "\n")
    return table


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def get(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return answer.read()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three trainings, and no workspace."""
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    write_training(tmp_path / "results/A/folds/0/training.csv", 3)
    for fold, age_s in ((1, 10), (2, 5000)):
        state = tmp_path / f".state/A/fold_{fold}/0a1b/state.pt"
        write_training(state.with_name("training.csv"), fold + 1)
        state.touch()
        os.utime(state, (time.time() - age_s,) * 2)
    return tmp_path


def test_trainings_are_found_in_results_and_in_the_state_directory(here: Path) -> None:
    found = find_trainings(Path(".state"))
    assert [(one.label, one.state, one.epochs) for one in found] == [
        ("A/fold_0", "Completed", 3),
        ("A/fold_1", "Running", 2),
        ("A/fold_2", "Interrupted", 3),
    ]
    assert found[2].age_s == pytest.approx(5000, abs=60)


def test_a_training_with_long_epochs_may_be_silent_for_longer(here: Path) -> None:
    write_training(here / ".state/A/fold_2/0a1b/training.csv", 3, seconds=2000)
    assert find_trainings(Path(".state"))[2].state == "Running"


def test_a_training_that_is_repeated_counts_as_running(here: Path) -> None:
    state = here / ".state/A/fold_0/ffff/state.pt"
    state.parent.mkdir(parents=True)
    state.touch()
    first = find_trainings(Path(".state"))[0]
    assert (first.state, first.epochs, first.table) == ("Running", None, None)


def test_trainings_are_chosen_by_state(here: Path) -> None:
    chosen = find_trainings(Path(".state"), status=["running", "COMPLETED"])
    assert [one.fold for one in chosen] == [0, 1]
    with pytest.raises(CrossfoldError, match="ever failed") as raised:
        find_trainings(Path(".state"), status=["Failed"])
    assert "Interrupted" in raised.value.remedy


@pytest.mark.parametrize("content", ["", "epoch,loss\n1,2\n"])
def test_a_damaged_table_is_named(tmp_path: Path, content: str) -> None:
    table = tmp_path / "training.csv"
    table.write_text(content)
    with pytest.raises(CrossfoldError, match=r"training\.csv: "):
        read_training(table)


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("results/A/folds/1/training.csv", "A/fold_1"),
        (".state/A/fold_1/0a1b/training.csv", "A/fold_1"),
        ("outputs/mine/training.csv", "outputs/mine"),
    ],
)
def test_curves_are_named_after_model_and_fold(path: str, label: str) -> None:
    assert label_of(Path(path)) == label


def test_event_files_hold_the_table(tmp_path: Path) -> None:
    table = write_training(tmp_path / "training.csv", 3)
    curves = Curves(tmp_path / "curves")
    curves.update("A/fold_0", table)
    curves.close()
    written = tmp_path / "curves/A/fold_0"
    assert scalars(written / "train", "Loss") == [
        (1, 1.0),
        (2, 0.5),
        (3, pytest.approx(1 / 3)),
    ]
    assert scalars(written / "val", "Loss") == [(3, 0.25)]
    assert scalars(written / "train", "LearningRate") == [
        (n, pytest.approx(0.01)) for n in (1, 2, 3)
    ]
    events = EventAccumulator(str(written / "train")).Reload().Scalars("Loss")
    ended = table.stat().st_mtime
    assert [event.wall_time - ended for event in events] == pytest.approx([-4, -2, 0], abs=0.1)


def test_event_files_grow_with_the_table(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves")
    table = tmp_path / "training.csv"
    table.write_text("epoch,phase,metric,value,lr,seconds\n1,train,loss,1,0.1,1\n")
    curves.update("A", table)
    with table.open("a") as file:
        file.write("2,train,loss,0.5,0.1,1\n")
    for _ in range(2):
        curves.update("A", table)
    assert len(list((tmp_path / "curves/A/train").iterdir())) == 1
    assert scalars(tmp_path / "curves/A/train", "Loss") == [(1, 1.0), (2, 0.5)]
    table.write_text("epoch,phase,metric,value,lr,seconds\n1,train,loss,4,0.1,1\n")
    curves.update("A", table)
    curves.close()
    assert scalars(tmp_path / "curves/A/train", "Loss") == [(1, 4.0)]


def test_a_trainings_own_event_files_are_shown_through_a_link(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves")
    running = write_training(tmp_path / ".state/A/fold_0/1/training.csv", 1)
    curves.update("A/fold_0", running)
    assert scalars(tmp_path / "curves/A/fold_0/train", "Loss") == [(1, 1.0)]
    for table in (running, write_training(tmp_path / "results/A/folds/0/training.csv", 2)):
        own = EventFiles(table.parent / "tensorboard")
        own.scalars("train", {"Loss": len(table.parts)}, 1)
        own.close()
        for _ in range(2):
            curves.update("A/fold_0", table)
        assert scalars(tmp_path / "curves/A/fold_0/train", "Loss") == [(1, len(table.parts))]
    curves.close()
    assert (tmp_path / "results/A/folds/0/tensorboard/train").is_dir()


def test_a_table_is_laid_out_in_columns() -> None:
    text = table_text(("name", "state"), [("a-long-name", "x"), ("b", "")])
    assert text.splitlines() == ["name         state", "a-long-name  x", "b"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7300, "2 h"), (2e5, "2 d")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


def test_runs_lists_the_trainings_of_this_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["runs", "--local", "--status", "Running,Completed"])
    said = capsys.readouterr()
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        ["A", "0", "Completed", "3", "0", "s", "ago"],
        ["A", "1", "Running", "2", "10", "s", "ago"],
    ]
    assert said.err == ""


def test_without_the_plugin_the_trainings_of_this_folder_are_listed(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, f"{PLUGIN}.runs", None)
    main(["runs"])
    said = capsys.readouterr()
    assert "not installed" in said.err
    assert "Interrupted" in said.out
    for named in (["--experiment", "main"], ["--run-ids", "a,b"]):
        with pytest.raises(SystemExit, match="make setup-azureml"):
            main(["runs", *named])


def test_without_a_workspace_the_trainings_of_this_folder_are_listed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(PLUGIN)
    main(["runs"])
    said = capsys.readouterr()
    assert "No Azure Machine Learning workspace is configured" in said.err
    assert "Interrupted" in said.out
    with pytest.raises(SystemExit, match="AZUREML_SUBSCRIPTION_ID"):
        main(["monitor", "--run-ids", "a"])


class Plugin:
    """Stands for the plugin: its functions note what they are asked for."""

    STATES = frozenset({"Running", "Failed"})
    WORTH_WATCHING = frozenset({"Running"})
    EVENT_FILES = "*tfevents*"
    WorkflowError = KeyError
    NoWorkspaceError = FileNotFoundError

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[object, ...]] = []

    def read_settings(self, profile: Path | None, sdk: str) -> str:
        return f"{profile} {sdk}"

    def open_client(self, settings: str) -> str:
        return f"client of {settings}"

    def list_runs(self, client: str, **choice: object) -> list[SimpleNamespace]:
        self.asked.append((client, choice))
        run = {"name": "train-1", "display_name": "fold 1", "state": "Failed", "age_s": 240.0}
        return [SimpleNamespace(**run, compute="", experiment="main", url="https://x")]

    def choose_jobs(self, client: str, **choice: object) -> list[SimpleNamespace]:
        self.asked.append((client, choice))
        if choice["run_ids"]:
            raise KeyError("no such run")
        return [SimpleNamespace(name="train-1"), SimpleNamespace(name="train-2")]

    def sync_events(
        self, client: str, jobs: list[SimpleNamespace], folder: Path, **options: object
    ) -> list[Path]:
        self.asked.append((client, options))
        return [
            folder / "train-1/results/A/folds/1/training.csv",
            folder / "train-1/.state/A/fold_1/0a1b/training.csv",
            folder / "train-1/outputs/events.out.tfevents.1",
            folder / "train-2/results/A/folds/1/training.csv",
        ]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    plugin = Plugin(tmp_path)
    for name in ("runs", "monitor", "workspace"):
        monkeypatch.setitem(sys.modules, f"{PLUGIN}.{name}", plugin)
    return plugin


def test_runs_of_a_workspace(
    here: Path, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "azureml").mkdir()
    (here / "azureml/profile.yaml").touch()
    main(["runs", "--experiment", "main", "--sdk", "v1"])
    row = ["train-1", "fold", "1", "Failed", "4", "min", "serverless", "main", "https://x"]
    assert capsys.readouterr().out.splitlines()[1].split() == row
    assert plugin.asked == [
        (
            "client of azureml/profile.yaml v1",
            {"experiment": "main", "run_ids": [], "status": plugin.STATES},
        )
    ]


def test_curves_of_runs_are_told_apart(tmp_path: Path, plugin: Plugin) -> None:
    names, tables = Workspace(tmp_path).sync(Choice(), tmp_path)
    assert names == ["train-1", "train-2"]
    assert {label: table.relative_to(tmp_path).as_posix() for label, table in tables.items()} == {
        "A/fold_1/train-1": "train-1/results/A/folds/1/training.csv",
        "A/fold_1/train-2": "train-2/results/A/folds/1/training.csv",
    }
    assert plugin.asked[0][1] == {"experiment": "", "run_ids": (), "status": plugin.WORTH_WATCHING}


def test_what_the_plugin_refuses_is_said(here: Path, plugin: Plugin) -> None:
    with pytest.raises(SystemExit, match="no such run"):
        main(["monitor", "--run-ids", "nobody", "--port", "0"])


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CrossfoldError, match=f"--port {port}: not free"):
            free_port(port)
    assert free_port(0) > 0


def test_tensorboard_that_does_not_start_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(CrossfoldError, match="it said nothing"),
        serving(tmp_path, free_port(0)),
    ):
        pass


@pytest.fixture
def start(here: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m crossfold` in that folder."""
    processes = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossfold", *arguments],
            cwd=here,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_monitor_serves_the_curves_until_it_is_stopped(
    start: Callable[..., subprocess.Popen[str]], ending: signal.Signals
) -> None:
    process = start("monitor", "--local", "--port", "0")
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("TensorBoard is at http://localhost:"), first
    address = f"http://127.0.0.1:{first.strip().rpartition(':')[2]}"

    deadline = time.monotonic() + 30
    tags: dict[str, dict[str, object]] = {}
    while len(tags) < 4 and time.monotonic() < deadline:
        tags = json.loads(get(f"{address}/data/plugin/scalars/tags"))
        time.sleep(0.2)
    assert {f"curves/A/fold_{fold}/train" for fold in range(3)} <= set(tags)
    assert {"Loss", "LearningRate"} <= set(tags["curves/A/fold_0/train"])
    assert "Loss" in tags["curves/A/fold_0/val"]

    process.send_signal(ending)
    assert process.wait(timeout=30) == 0
    with pytest.raises(OSError, match="refused"):
        get(address)


def test_monitor_says_when_there_is_nothing_to_show(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start(
        "monitor", "--local", "--port", "0", "--state-dir", "none", "--status", "running"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "There are no learning curves yet.\n"


def test_the_version_is_the_one_to_cite(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    cited = re.search(r"^version: (.+)$", (REPOSITORY / "CITATION.cff").read_text(), flags=re.M)
    assert cited
    assert capsys.readouterr().out == f"crossfold {cited[1]}\n"
