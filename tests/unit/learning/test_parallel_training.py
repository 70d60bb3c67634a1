"""Training on several devices, which are processes of the CPU here (gloo)."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import IMAGE, Plan
from crossfold.errors import CrossfoldError
from crossfold.learning.checkpoints import load_checkpoint
from crossfold.learning.launching import devices_of
from crossfold.learning.optimisation import DivergedError
from crossfold.learning.training import train_fold
from crossfold.paths import checkpoint, subject_file

# Everything that sums over the batch: batch normalisation, both parts of the loss, Dice; and all
# that is drawn: crops, deformations, noise.
CONFIG: dict[str, Any] = {
    "epochs": 2,
    "iterations_per_epoch": 4,
    "batch_size": 4,
    "patch_size": (16, 16, 16),
    "optimiser": {"method": "sgd", "momentum": 0.9},
    "learning_rate": 0.02,
    "ema_decay": 0.9,
    "validate_every": 1,
    "loss": [
        {"method": "soft_dice", "class_weight_power": 0.2},
        {"method": "focal", "class_weight_power": 0.2},
    ],
    "augmentation": {"mirror_axes": ["x"], "gamma": 0.2, "bias_field": 0.1, "noise": 0.2},
    "checkpoints": {"every": 1},
    "precision": "fp32",
    "device": "cpu",
}


def train(preprocessed: Path, folder: Path, **changes: Any) -> Path:
    subjects = list(Plan.read(preprocessed).digests)
    train_fold(
        preprocessed,
        subjects=subjects[:4],
        validation_subjects=subjects[4:],
        images=["ct"],
        structures=["shell", "core"],
        network=NetworkConfig(channels=[4, 8]),
        config=TrainingConfig(**(CONFIG | changes)),
        fold=1,
        checkpoints=folder / "checkpoints",
        history=folder / "training.csv",
        machine=folder / "machine.json",
        state_directory=folder / "state",
        tensorboard=folder / "tensorboard",
        example_images=folder / "example_images",
    )
    return folder


def weights(folder: Path, epoch: int = CONFIG["epochs"]) -> dict[str, Tensor]:
    network, _ = load_checkpoint(checkpoint(folder / "checkpoints", epoch))
    return network.state_dict()


def curve(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "training.csv").drop(columns="seconds")


def test_two_processes_are_one_with_the_whole_batch(preprocessed: Path, tmp_path: Path) -> None:
    one = train(preprocessed, tmp_path / "one")
    two = train(preprocessed, tmp_path / "two", devices=2)
    pd.testing.assert_frame_equal(curve(two), curve(one), rtol=1e-3, atol=1e-5)
    for name, expected in weights(one).items():
        torch.testing.assert_close(weights(two)[name], expected, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(*(next(iter(weights(two, epoch).values())) for epoch in (1, 2)))
    # One of them wrote, once.
    files = [{str(file.relative_to(run)) for file in run.rglob("*.nii.gz")} for run in (one, two)]
    assert files[0] == files[1]
    assert len(list((two / "tensorboard").rglob("*tfevents*"))) == len(
        list((one / "tensorboard").rglob("*tfevents*"))
    )
    assert json.loads((two / "machine.json").read_text(encoding="utf-8"))["devices"] == 2


@pytest.mark.slow
def test_a_process_that_dies_ends_all_and_training_continues(
    preprocessed: Path, tmp_path: Path
) -> None:
    """Killed as by a lack of memory; nothing hangs, and two devices or one go on."""
    changes = {"devices": 2, "epochs": 10, "checkpoints": {}}

    def kill() -> None:
        """Kill the second process when the first epoch is done."""
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("state/*/state.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(max(child.pid for child in active_children() if child.pid), signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(CrossfoldError, match=r"process \d of 2 .* has ended with exit code -9"):
        train(preprocessed, tmp_path, **changes)
    thread.join()
    assert not active_children()
    train(preprocessed, tmp_path, **changes)
    record = json.loads((tmp_path / "machine.json").read_text(encoding="utf-8"))
    assert 1 <= record["continued_after_epoch"] < 10
    whole = train(preprocessed, tmp_path / "whole", **(changes | {"devices": 1}))
    for name, expected in weights(whole, 10).items():
        torch.testing.assert_close(weights(tmp_path, 10)[name], expected, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_an_error_of_a_process_is_that_of_the_training(preprocessed: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in preprocessed.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    path = subject_file(damaged, "ball 2", IMAGE)
    np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(DivergedError, match=r"loss is nan in epoch \d with .*ball 2"):
        train(damaged, tmp_path, devices=2)
    assert not (tmp_path / "checkpoints").exists()


def test_the_number_of_devices_is_checked() -> None:
    with pytest.raises(ValueError, match="devices: 2 of them cannot share 3 crops alike"):
        TrainingConfig(batch_size=3, devices=2)
    assert devices_of(TrainingConfig(batch_size=4, devices=2, device="cpu")) == 2
    assert devices_of(TrainingConfig(batch_size=4, devices="auto", device="cpu")) == 1


@pytest.mark.parametrize(("seen", "shared"), [(1, 1), (2, 2), (4, 3), (8, 6)])
def test_auto_is_as_many_as_divide_the_batch(
    seen: int, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    assert devices_of(TrainingConfig(batch_size=6, devices="auto")) == shared
    if seen < 6:
        with pytest.raises(CrossfoldError, match=f"devices: 6, but torch sees {seen} GPU"):
            devices_of(TrainingConfig(batch_size=6, devices=6))
