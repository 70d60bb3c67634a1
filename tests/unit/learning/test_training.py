from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from crossfold.config.learning import CheckpointsConfig, NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import IMAGE, Plan
from crossfold.errors import CrossfoldError
from crossfold.learning.checkpoints import load_checkpoint
from crossfold.learning.history import TRAINING_COLUMNS
from crossfold.learning.training import _Training, train_fold
from crossfold.paths import checkpoint, subject_file

NETWORK = NetworkConfig(channels=[4, 8])
CONFIG = TrainingConfig(
    epochs=6,
    iterations_per_epoch=3,
    patch_size=(16, 16, 16),
    checkpoints=CheckpointsConfig(every=4),
    validate_every=2,
    ema_decay=0.9,
    precision="fp32",
    device="cpu",
)


def train(preprocessed: Path, folder: Path, config: TrainingConfig = CONFIG, **more: Any) -> Path:
    subjects = list(Plan.read(preprocessed).digests)
    options: dict[str, Any] = {
        "subjects": subjects[:4],
        "validation_subjects": subjects[4:],
        "images": ["ct"],
        "structures": ["shell", "core"],
        "network": NETWORK,
        "fold": 1,
        "checkpoints": folder / "checkpoints",
        "history": folder / "training.csv",
        "machine": folder / "machine.json",
        "state_directory": folder / "state",
    }
    train_fold(preprocessed, config=config, **(options | more))
    return folder


def last(folder: Path, epoch: int = CONFIG.epochs) -> bytes:
    return checkpoint(folder / "checkpoints", epoch).read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(preprocessed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(preprocessed, tmp_path_factory.mktemp("uninterrupted"))


def test_training_learns_and_writes_its_history(uninterrupted: Path) -> None:
    history = pd.read_csv(uninterrupted / "training.csv")
    assert list(history.columns) == TRAINING_COLUMNS
    loss = history.query("phase == 'train' and metric == 'loss'")
    assert loss["epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    assert loss["value"].iloc[-1] < 0.8 * loss["value"].iloc[0]
    validated = history.query("phase == 'val' and metric == 'dice_shell'")
    assert validated["epoch"].tolist() == [2, 4, 6]
    assert (history.query("metric == 'skipped_steps'")["value"] == 0).all()


def test_the_machine_is_recorded(uninterrupted: Path) -> None:
    record = json.loads((uninterrupted / "machine.json").read_text(encoding="utf-8"))
    assert record["torch"] == torch.__version__
    assert record["seconds"] > 0
    assert record["peak_memory_mib"] > 0
    assert record["continued_after_epoch"] == 0
    assert record["energy_kwh"] is None or record["energy_kwh"] >= 0


def test_checkpoints_describe_themselves(uninterrupted: Path) -> None:
    kept = sorted(file.name for file in (uninterrupted / "checkpoints").iterdir())
    assert kept == ["epoch_004.safetensors", "epoch_006.safetensors"]
    network, card = load_checkpoint(checkpoint(uninterrupted / "checkpoints", 6))
    assert card.structures == ["shell", "core"]
    assert card.patch_size == [16, 16, 16]
    assert not network.training
    left = sorted(file.name for file in (uninterrupted / "state").glob("finished/*/*.*"))
    assert left == ["epoch_004.safetensors", "epoch_006.safetensors", "state.pt"]
    assert not list((uninterrupted / "state").glob("*/state.pt"))  # it is under way no more


def test_the_same_seed_gives_the_same_bytes(
    preprocessed: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    assert last(train(preprocessed, tmp_path / "again")) == last(uninterrupted)
    other = CONFIG.model_copy(update={"seed": 1})
    assert last(train(preprocessed, tmp_path / "other", other)) != last(uninterrupted)


def test_a_state_of_another_configuration_is_not_continued(
    preprocessed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = _Training.train_epoch

    def interrupted(run: _Training, epoch: int) -> None:
        if epoch == 3:
            raise KeyboardInterrupt
        train_epoch(run, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(_Training, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(preprocessed, tmp_path)
    [state] = (tmp_path / "state").glob("*/state.pt")

    slower = CONFIG.model_copy(update={"learning_rate": 1e-5})
    train(preprocessed, tmp_path, slower)

    # All epochs were trained with the new configuration, and the old state is still there.
    history = pd.read_csv(tmp_path / "training.csv")
    assert history["lr"].max() <= 1e-5
    assert history["epoch"].min() == 1
    assert state.exists()


def test_a_loss_that_is_no_number_names_epoch_and_subject(
    preprocessed: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in preprocessed.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    path = subject_file(damaged, "ball 2", IMAGE)
    np.save(path, np.full_like(np.load(path), np.nan))
    with pytest.raises(CrossfoldError, match=r"loss is nan in epoch \d+ with .*ball 2"):
        train(damaged, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_gradients_that_are_not_finite_are_skipped(
    preprocessed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One broken kernel in an epoch costs a step, not the training."""
    original, calls = torch.nn.utils.clip_grad_norm_, []

    def sometimes_infinite(parameters: Any, norm: float) -> torch.Tensor:
        calls.append(norm)
        return torch.tensor(torch.inf) if len(calls) == 2 else original(parameters, norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", sometimes_infinite)
    train(preprocessed, tmp_path)
    history = pd.read_csv(tmp_path / "training.csv").query("metric == 'skipped_steps'")
    assert history["value"].tolist() == [1, 0, 0, 0, 0, 0]
    network, _ = load_checkpoint(checkpoint(tmp_path / "checkpoints", 6))
    assert all(value.isfinite().all() for value in network.parameters())


def test_a_compiled_training_is_the_same_but_for_rounding(
    preprocessed: Path, tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the code generator, which takes a minute.
    quick = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", quick)
    train(preprocessed, tmp_path, CONFIG.model_copy(update={"compile": True}))
    losses = [
        pd.read_csv(folder / "training.csv").query("metric == 'loss'")["value"].to_numpy()
        for folder in (tmp_path, uninterrupted)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert load_checkpoint(checkpoint(tmp_path / "checkpoints", 6))


def test_a_patch_larger_than_every_image_is_padded(preprocessed: Path, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"patch_size": (64, 32, 32), "epochs": 1})
    train(preprocessed, tmp_path, config)
    assert checkpoint(tmp_path / "checkpoints", 1).is_file()


def test_a_missing_epoch_names_those_that_were_kept(uninterrupted: Path) -> None:
    with pytest.raises(CrossfoldError, match="choose an epoch that was kept: epoch_004, epoch_006"):
        load_checkpoint(checkpoint(uninterrupted / "checkpoints", 5))


def test_a_training_is_given_up_for_a_reason_and_again_after_a_restart(
    preprocessed: Path, tmp_path: Path
) -> None:
    asked = []

    def give_up(history: pd.DataFrame) -> str | None:
        asked.append(0 if history.empty else int(history["epoch"].max()))
        return "poor" if asked[-1] == 4 else None

    for _ in range(2):
        train(preprocessed, tmp_path, give_up=give_up)
        assert pd.read_csv(tmp_path / "training.csv")["epoch"].max() == 4
        assert not list((tmp_path / "checkpoints").iterdir())
    assert asked == [0, 1, 2, 3, 4, 4]  # the state of epoch 4 is there: nothing is trained again
    # Without the rule it goes on from there, and is what it would have been.
    assert last(train(preprocessed, tmp_path)) == last(train(preprocessed, tmp_path / "whole"))
