"""A search of hyperparameters: killed, continued, given more trials, and blind to the test set."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.checkout import Checkout, Run, copy_checkout

pytestmark = pytest.mark.slow

OVERLAY = """
datasets:
  tiny_phantom: {{source: phantom, subjects: 5, seed: 1}}
models:
  Lab:
    base: ProstateBase
    dataset: tiny_phantom
    images: [ct]
    structures: [external, bladder]
    postprocessing: {{largest_component: [external]}}
    metrics: {{nsd_tolerance_mm: 3}}
    splits: {{folds: 2, test: [phantom_002]}}
    preprocessing: {{spacing_mm: [12, 12, 12]}}
    network: {{channels: [4, 8]}}
    training:
      epochs: 6
      iterations_per_epoch: 2
      patch_size: [16, 16, 8]
      validate_every: 2
    inference: {{window: patch, batch_size: 4}}
    search:
      learning_rate: {{choice: [0.0001, 0.01]}}
      schedule.floor: {{choice: [0, 0.001]}}
      method: grid
      parallel: 2
      trials: {trials}
      prune: {{at_least: 1, after: 0.1, quantile: 0.9}}
"""
SEARCH = Path("results/Lab/search.csv")
TRIALS = Path("results/Lab/search/trials")
OWN_CODE = """
from torch import nn

class Small(nn.Conv3d):
    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, image):
        return 1 * super().forward(image)
"""
# The first trial has the network of the model; the second one has that which is named here alone.
OWN_SEARCH = """
    search:
      network._target_: {choice: [crossfold.learning.networks.UNet, "own_networks:Small"]}
      method: random
      trials: 2
"""


def search(checkout: Checkout, trials: int, *arguments: str, target: Path = SEARCH) -> Run:
    overlay = checkout.write("lab.yaml", OVERLAY.format(trials=trials))
    done = checkout.snakemake("--configfile", overlay, *arguments, "--", target)
    assert done.code == 0, done.output + done.errors
    return done


def hide_test_subject(checkout: Checkout) -> None:
    """Take away every file of the test subject; the folders keep their times."""
    for folder in (Path("data/tiny_phantom/images"), Path("results/Lab/preprocessed")):
        files = [*(checkout.folder / folder).rglob("phantom_002*")]
        assert files, folder
        for file in files:
            if file.is_file():
                before = file.parent.stat()
                file.unlink()
                os.utime(file.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def kill_during_training(checkout: Checkout) -> None:
    """Kill Snakemake and its jobs as soon as a trial has saved its state."""
    overlay = checkout.write("lab.yaml", OVERLAY.format(trials=2))
    process = subprocess.Popen(
        checkout.command("--configfile", overlay, "--", SEARCH),
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not checkout.running_states():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_search_is_continued_extended_and_blind_to_the_test_set(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    search(checkout, 2, target=Path("results/Lab/preprocessed"))
    hide_test_subject(checkout)

    kill_during_training(checkout)
    assert not (checkout.folder / SEARCH).exists()
    search(checkout, 2, "--unlock")
    search(checkout, 2, "--rerun-incomplete")
    first = pd.read_csv(checkout.folder / SEARCH)
    assert len(first) == 2
    logs = [file.read_text() for file in (checkout.folder / "logs/train_trial").glob("*.log")]
    assert any("fold 0 continues after epoch" in log for log in logs)
    before = {file: file.stat().st_mtime_ns for file in (checkout.folder / TRIALS).rglob("*.json")}
    assert len(before) == 2

    done = search(checkout, 4)
    assert done.jobs == {
        "propose_round": 1,
        "train_trial": 2,
        "collect_round": 1,
        "write_search": 1,
    }
    table = pd.read_csv(checkout.folder / SEARCH)
    pd.testing.assert_frame_equal(table.loc[:1, first.columns], first, check_dtype=False)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert search(checkout, 4, "-n").jobs == {}

    # A floor above the learning rate is a failed trial, and poor ones stop early.
    wrong = table["training.schedule.floor"] > table["training.learning_rate"]
    assert table.loc[wrong, "status"].tolist() == ["failed"]
    assert "above learning_rate" in table.loc[wrong, "reason"].item()
    assert set(table.loc[~wrong, "status"]) <= {"complete", "stopped"}
    best = table.loc[table["mean"].idxmax()]
    snippet = yaml.safe_load((checkout.folder / "results/Lab/search/best.yaml").read_text())
    tuned = snippet["models"]["LabTuned"]["training"]
    assert tuned["learning_rate"] == best["training.learning_rate"]
    assert "No test subject was read" in (checkout.folder / "results/Lab/search.html").read_text()
    log = (checkout.folder / "logs/write_search/Lab.log").read_text()
    assert "LabTuned:" in log
    assert "optimistic" in log


def test_an_edit_of_own_code_trains_the_trials_that_use_it(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    model = OVERLAY.partition("    search:")[0].format()
    overlay = checkout.write("lab.yaml", model + OWN_SEARCH)
    folds = [TRIALS / str(trial) / "folds/0" for trial in range(2)]

    def run(*options: str) -> Run:
        done = checkout.snakemake("--configfile", overlay, *options, "--", *folds)
        assert done.code == 0, done.output + done.errors
        return done

    def results(name: str) -> list[bytes]:
        return [(checkout.folder / fold / name).read_bytes() for fold in folds]

    checkout.write("own_networks.py", OWN_CODE)
    run()
    trained, measured = results("training.csv"), results("metrics.csv")
    assert run("-n").jobs == {}
    checkout.write("own_networks.py", OWN_CODE.replace("return 1", "return -1"))
    assert run().jobs == {"train_trial": 2}
    # It holds seconds, so that another training gives other bytes.
    for now, before in ((results("training.csv"), trained), (results("metrics.csv"), measured)):
        assert now[0] == before[0]
        assert now[1] != before[1]
