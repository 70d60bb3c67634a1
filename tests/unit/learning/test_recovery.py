"""Trainings that were killed, that are extended, and that keep their best epoch."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors
import torch
from torch import nn

from crossfold.config.learning import CheckpointsConfig, NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import Plan
from crossfold.errors import CrossfoldError
from crossfold.learning.training import _Training, train_fold
from crossfold.paths import best_checkpoint, checkpoint

KILLS = 5
CONFIG = TrainingConfig(
    epochs=24,
    iterations_per_epoch=2,
    batch_size=1,
    patch_size=(8, 8, 8),
    checkpoints=CheckpointsConfig(first=8, every=4, keep_best=True),
    validate_every=4,
    ema_decay=0.9,
    precision="fp16",
    device="cpu",
)


class Dropping(nn.Module):
    """A network that draws random numbers in every step."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(in_channels, 4, 3, padding=1),
            nn.BatchNorm3d(4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv3d(4, out_channels, 1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


NETWORK = NetworkConfig(_target_=f"{__name__}.Dropping")


def train(
    preprocessed: Path,
    folder: Path,
    config: TrainingConfig = CONFIG,
    *,
    network: NetworkConfig = NETWORK,
    state: Path | None = None,
) -> Path:
    subjects = list(Plan.read(preprocessed).digests)
    train_fold(
        preprocessed,
        subjects=subjects[:4],
        validation_subjects=subjects[4:],
        images=["ct"],
        structures=["shell", "core"],
        network=network,
        config=config,
        fold=1,
        checkpoints=folder / "checkpoints",
        history=folder / "training.csv",
        machine=folder / "machine.json",
        state_directory=state or folder / "state",
    )
    return folder


def weights(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "checkpoints").iterdir()}


def curves(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "training.csv").drop(columns="seconds")


def changed(**training: Any) -> TrainingConfig:
    return TrainingConfig(**{**CONFIG.model_dump(), **training})


@pytest.fixture(scope="module")
def uninterrupted(preprocessed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(preprocessed, tmp_path_factory.mktemp("uninterrupted"))


def test_a_training_killed_at_any_moment_continues_with_the_same_bytes(
    preprocessed: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """`kill -9` at five random points, whatever the training is doing there."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crossfold.learning.training"])
    moments, killed_after = random.Random(0), []
    for _ in range(KILLS):
        before = saved_at(tmp_path)
        process = context.Process(target=train, args=(preprocessed, tmp_path))
        process.start()
        deadline = time.monotonic() + 60
        while saved_at(tmp_path) == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "training.csv").exists()
        assert not (tmp_path / "checkpoints").exists()
        killed_after.append(epochs_done(tmp_path))
    assert 1 <= killed_after[0] < killed_after[-1] < CONFIG.epochs

    train(preprocessed, tmp_path)

    assert weights(tmp_path) == weights(uninterrupted)
    pd.testing.assert_frame_equal(curves(tmp_path), curves(uninterrupted))
    record = json.loads((tmp_path / "machine.json").read_text(encoding="utf-8"))
    assert record["continued_after_epoch"] == killed_after[-1]
    assert not list((tmp_path / "state").rglob(".part-*"))


def saved_at(folder: Path) -> list[int]:
    return [state.stat().st_mtime_ns for state in (folder / "state").glob("*/state.pt")]


def epochs_done(folder: Path) -> int:
    [state] = (folder / "state").glob("*/state.pt")
    return torch.load(state, weights_only=True)["done"]


def test_checkpoints_are_kept_from_the_first_on_and_always_the_last(uninterrupted: Path) -> None:
    kept = [checkpoint("", epoch).name for epoch in range(8, 25, 4)]
    assert sorted(weights(uninterrupted)) == ["best.safetensors", *kept]


def test_the_best_epoch_is_that_of_the_highest_dice_on_validation_crops(
    uninterrupted: Path,
) -> None:
    table = pd.read_csv(uninterrupted / "training.csv").query("phase == 'val'")
    is_dice = table["metric"].isin(["dice_shell", "dice_core"])
    dice = table[is_dice].groupby("epoch")["value"].mean()
    with safetensors.safe_open(best_checkpoint(uninterrupted / "checkpoints"), "pt") as file:
        about = json.loads(file.metadata()["crossfold"])
    assert about["epoch"] == dice.idxmax()
    marked = table[table["metric"] == "best_dice"]
    assert marked["epoch"].iloc[-1] == dice.idxmax()
    assert marked["value"].iloc[-1] == pytest.approx(dice.max(), rel=1e-5)
    assert marked["value"].is_monotonic_increasing


def test_without_validation_subjects_there_is_no_best_epoch(
    preprocessed: Path, tmp_path: Path
) -> None:
    with pytest.raises(CrossfoldError, match="keep_best: fold 0 has no validation subjects"):
        train_fold(
            preprocessed,
            subjects=list(Plan.read(preprocessed).digests),
            validation_subjects=[],
            images=["ct"],
            structures=["shell", "core"],
            network=NETWORK,
            config=CONFIG,
            fold=0,
            checkpoints=tmp_path / "checkpoints",
            history=tmp_path / "training.csv",
            machine=tmp_path / "machine.json",
            state_directory=tmp_path / "state",
        )


CONSTANT: dict[str, Any] = {"schedule": {"method": "constant"}, "warmup": {"epochs": 2}}


def extend(preprocessed: Path, folder: Path, *, first: TrainingConfig, then: TrainingConfig) -> int:
    """Train, as Snakemake delete what it wrote, train again; return the epochs not trained anew."""
    train(preprocessed, folder, first)
    for name in ("checkpoints", "training.csv", "machine.json"):
        delete(folder / name)
    train(preprocessed, folder, then)
    record = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    return record["continued_after_epoch"]


@pytest.mark.parametrize(("is_edited", "continued_after"), [(False, 4), (True, 0)])
def test_what_an_own_network_was_before_its_edit_is_not_continued(
    preprocessed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_edited: bool,
    continued_after: int,
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    own_code = tmp_path / f"lab_{is_edited}.py"
    own_code.write_text(f"from {__name__} import Dropping as Own\n", encoding="utf-8")
    network = NetworkConfig(_target_=f"{own_code.stem}.Own")
    short, long = changed(epochs=4, **CONSTANT), changed(epochs=8, **CONSTANT)
    train(preprocessed, tmp_path, short, network=network)
    if is_edited:
        own_code.write_text(f"from {__name__} import Dropping as Own  # edited\n", encoding="utf-8")
    train(preprocessed, tmp_path / "again", long, network=network, state=tmp_path / "state")
    record = json.loads((tmp_path / "again/machine.json").read_text(encoding="utf-8"))
    assert record["continued_after_epoch"] == continued_after


def delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_more_epochs_continue_a_training_that_has_ended(preprocessed: Path, tmp_path: Path) -> None:
    """With a schedule of no fixed length, they give the bytes of a training of that length."""
    short, long = changed(epochs=4, **CONSTANT), changed(epochs=8, **CONSTANT)
    assert extend(preprocessed, tmp_path / "extended", first=short, then=long) == 4
    train(preprocessed, tmp_path / "whole", long)
    assert weights(tmp_path / "extended") == weights(tmp_path / "whole")
    pd.testing.assert_frame_equal(curves(tmp_path / "extended"), curves(tmp_path / "whole"))


@pytest.mark.parametrize("method", ["one_cycle", "polynomial"])
def test_a_schedule_of_fixed_length_follows_that_of_more_epochs(
    preprocessed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """From the first new epoch on; `extended_from` gives the same bytes from the start."""
    short = changed(epochs=4, schedule={"method": method})
    long = changed(epochs=8, schedule={"method": method})
    assert extend(preprocessed, tmp_path / "extended", first=short, then=long) == 4
    assert "{extended_from: [4]}" in caplog.text
    told = changed(epochs=8, schedule={"method": method}, extended_from=[4])
    train(preprocessed, tmp_path / "again", told)
    assert weights(tmp_path / "extended") == weights(tmp_path / "again")
    pd.testing.assert_frame_equal(curves(tmp_path / "extended"), curves(tmp_path / "again"))

    train(preprocessed, tmp_path / "whole", long)
    rates = {name: curves(tmp_path / name).groupby("epoch")["lr"].last() for name in RUNS}
    assert rates["extended"][5:].tolist() == rates["whole"][5:].tolist()
    assert rates["extended"][:4].tolist() != rates["whole"][:4].tolist()
    record = json.loads((tmp_path / "extended" / "machine.json").read_text(encoding="utf-8"))
    assert record["extended_from"] == [4]


RUNS = ("extended", "whole")


def test_an_extension_that_is_killed_continues(preprocessed: Path, tmp_path: Path) -> None:
    short, long = changed(epochs=4), changed(epochs=12)
    extend(preprocessed, tmp_path / "whole", first=short, then=long)
    train(preprocessed, tmp_path / "killed", short)
    train_until(8, preprocessed, tmp_path / "killed", long)
    train(preprocessed, tmp_path / "killed", long)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    # It can be extended once more.
    longest = changed(epochs=14)
    assert extend(preprocessed, tmp_path / "killed", first=long, then=longest) == 12


def train_until(epoch: int, preprocessed: Path, folder: Path, config: TrainingConfig) -> None:
    """Train up to an epoch, which is not done any more."""
    train_epoch = _Training.train_epoch

    def interrupted(run: _Training, number: int) -> None:
        if number == epoch:
            raise KeyboardInterrupt
        train_epoch(run, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Training, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(preprocessed, folder, config)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"epochs": 8}, "asked for once more"),
        ({"epochs": 6}, "fewer epochs"),
        ({"epochs": 12, "learning_rate": 0.001}, "another training"),
        ({"epochs": 12, "extended_from": [6]}, "it had another length"),
        ({"epochs": 12, "checkpoints": {"every": 3, "keep_best": True}}, "epoch 3 is not there"),
    ],
)
def test_what_is_not_an_extension_starts_anew(
    preprocessed: Path, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    then = changed(**{"epochs": 8, **change})
    assert extend(preprocessed, tmp_path, first=changed(epochs=8), then=then) == 0, why
    # One training that has ended is enough: a study of many would fill the disk.
    assert len(list((tmp_path / "state" / "finished").iterdir())) == 1


def test_a_killed_training_of_no_fixed_length_continues_with_more_epochs(
    preprocessed: Path, tmp_path: Path
) -> None:
    train_until(5, preprocessed, tmp_path / "killed", changed(epochs=8, **CONSTANT))
    long = changed(epochs=12, **CONSTANT)
    train(preprocessed, tmp_path / "killed", long)
    record = json.loads((tmp_path / "killed" / "machine.json").read_text(encoding="utf-8"))
    assert record["continued_after_epoch"] == 4
    train(preprocessed, tmp_path / "whole", long)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
