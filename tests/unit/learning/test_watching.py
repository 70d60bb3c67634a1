from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from crossfold.config.diagnostics import DiagnosticsConfig
from crossfold.config.learning import NetworkConfig, TrainingConfig
from crossfold.data.preprocessing import Plan
from crossfold.learning import resources, watching
from crossfold.learning.checkpoints import NetworkCard
from crossfold.learning.event_files import scalars_of
from crossfold.learning.history import TRAINING_COLUMNS, History
from crossfold.learning.resources import ResourceMonitor
from crossfold.learning.training import train_fold
from crossfold.learning.watching import Watch
from crossfold.paths import checkpoint

CARD = NetworkCard("net", {}, ["ct"], ["a", "b"], [1.0, 2.0, 3.0], [8, 6, 4])
EMPTY = pd.DataFrame(columns=TRAINING_COLUMNS)


def watch(directory: Path, history: pd.DataFrame = EMPTY, **settings: Any) -> Watch:
    return Watch(
        directory,
        fold=0,
        epochs=5,
        card=CARD,
        coarsening=(2, 2, 1),
        history=history,
        device=torch.device("cpu"),
        config=DiagnosticsConfig(**settings),
    )


def rows_of(epochs: int, *, loss: float = 0.5) -> pd.DataFrame:
    history = History(CARD.structures)
    for epoch in range(1, epochs + 1):
        history.start(epoch, 0.1 / epoch)
        history.see(torch.tensor([[[[0, 1], [2, 2]]], [[[0, 0], [0, 1]]]]))
        history.record("train", loss / epoch, [0.4, float("nan")])
        history.add_voxels("train")
    history.start(epochs, 0.1)
    history.record("val", 0.7, [0.2, 0.6])
    return history.frame()


def accumulated(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in accumulated(folder).Scalars(tag)]


def test_scalars_have_innereyes_names() -> None:
    (phase, epoch, values), *_ = scalars_of(rows_of(1))
    assert (phase, epoch) == ("train", 1)
    assert values.pop("TimePerEpoch_Seconds") >= 0
    assert np.isnan(values.pop("Dice/b"))
    assert values == pytest.approx(
        {
            "Loss": 0.5,
            "Dice/a": 0.4,
            # Over the structures that have one.
            "Dice/AverageExceptBackground": 0.4,
            # Of two crops of 4 voxels: 2 of a, 2 of b.
            "Voxels/a": 1.0,
            "Voxels/b": 1.0,
            "Voxels/ProportionForeground": 0.5,
            "LearningRate": 0.1,
        }
    )
    _, (phase, _, values) = scalars_of(rows_of(1))
    assert phase == "val"
    assert values["Dice/AverageExceptBackground"] == pytest.approx(0.4)
    assert "LearningRate" not in values


def test_what_a_killed_training_lost_is_forgotten(tmp_path: Path) -> None:
    with watch(tmp_path) as first:
        for epoch in (1, 2, 3):
            first.epoch(epoch, rows_of(3))
    time.sleep(1.1)  # names of event files count seconds
    with watch(tmp_path, rows_of(2)) as second:
        for epoch in (3, 4):
            second.epoch(epoch, rows_of(4, loss=5.0))
    second.keep(tmp_path / "tensorboard", None)
    assert points(tmp_path / "tensorboard/train", "Loss") == [
        (1, 0.5),
        (2, 0.25),
        (3, pytest.approx(5 / 3)),
        (4, 1.25),
    ]


def test_a_training_that_starts_anew_keeps_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with watch(tmp_path) as watched:
            watched.epoch(1, rows_of(1))
    assert len(list((tmp_path / "tensorboard/train").iterdir())) == 1


def test_an_example_is_what_the_network_saw(tmp_path: Path) -> None:
    image = torch.linspace(-2, 2, 4 * 3 * 4).reshape(1, 4, 3, 4)
    labels = (image > 1).long() + (image > 1.5)
    logits = torch.nn.functional.one_hot((image > 1).long(), 3).movedim(-1, 1).float()
    with watch(tmp_path, example_images_every=2) as watched:
        for epoch in range(1, 6):
            watched.example(epoch, image, labels, logits, ["P/1"])
    watched.keep(None, tmp_path / "kept")
    names = ("image", "label", "prediction")
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == sorted(
        f"P%2F1_epoch_{epoch:03d}_{name}.nii.gz" for epoch in (2, 4, 5) for name in names
    )
    kept = {name: nib.load(tmp_path / f"kept/P%2F1_epoch_005_{name}.nii.gz") for name in names}
    np.testing.assert_allclose(kept["image"].get_fdata(), image[0], atol=5.1e-4)
    np.testing.assert_array_equal(kept["label"].get_fdata(), labels[0])
    np.testing.assert_array_equal(kept["prediction"].get_fdata(), image[0] > 1)
    # Half of the patch along x and y: averaged over voxels of 1 x 2 x 3 mm.
    assert kept["label"].header.get_zooms() == (2, 4, 3)
    pictures = accumulated(tmp_path / "tensorboard/train").Images("Example/image_label_prediction")
    assert [(picture.step, picture.width, picture.height) for picture in pictures] == [
        (epoch, 3 * 4, 3) for epoch in (2, 4, 5)
    ]


def test_an_epoch_is_a_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with watch(tmp_path) as watched:
        watched.epoch(4, rows_of(4))
        watched.epoch(5, rows_of(5))
    first, last = caplog.messages
    assert re.fullmatch(
        r"fold 0, epoch 4 of 5: train loss 0\.125, Dice 0\.400; val loss 0\.700, Dice 0\.400, "
        r"0\.\d s, ends at about \d{4}-\d\d-\d\d \d\d:\d\d, in 0:00:0\d h",
        first,
    )
    assert last.endswith("the last one")


def slow(steps: range, watched: Watch, seconds: float) -> Iterator[int]:
    for step in steps:
        lap = watched.laps(step)
        time.sleep(seconds)
        lap("reading crops")
        lap("augmentation")
        yield step


@pytest.mark.parametrize(("making_s", "using_s", "warnings"), [(0.03, 0, 3), (0.03, 0.06, 0)])
def test_slow_batches_are_warned_about(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    making_s: float,
    using_s: float,
    warnings: int,
) -> None:
    monkeypatch.setattr(watching, "SLOW_BATCH_S", 0.02)
    steps = range(5)
    with watch(tmp_path) as watched:
        batches = watched.batches(steps, slow(steps, watched, making_s))
        for step, batch in zip(steps, batches, strict=True):
            assert batch == step
            time.sleep(using_s)
    assert len(caplog.messages) == warnings
    for message in caplog.messages:
        assert re.search(r"waited 0\.\d\d s .* \(reading crops 0\.0\d s, augmentation", message)
    assert not warnings or caplog.messages[-1].endswith("no more of these warnings")


def test_resources_are_looked_at_in_the_background(tmp_path: Path) -> None:
    looks: list[dict[str, float]] = []
    monitor = ResourceMonitor(
        torch.device("cpu"), 0.02, lambda seconds, values: looks.append(values)
    )
    deadline = time.perf_counter() + 5
    while len(looks) < 3 and time.perf_counter() < deadline:
        sum(range(10_000))
    monitor.stop()
    ended = len(looks)
    assert ended >= 4
    summary = monitor.summary()
    assert summary["CPU/Process_Percent"]["max"] > 10
    assert 0 < summary["CPU/MemUtil_Percent"]["mean"] <= 100
    assert 0 <= summary["CPU/Load_Percent"]["mean"] <= 100
    assert 0.01 < summary["CPU/Process_GB"]["max"] < 100
    time.sleep(0.05)
    assert len(looks) == ended


def test_a_system_that_tells_less_is_watched_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_PROC", tmp_path)
    monitor = ResourceMonitor(torch.device("cpu"), 60, lambda seconds, values: None)
    monitor.stop()
    assert set(monitor.summary()) == {"CPU/Process_Percent"}


def test_looking_changes_no_weight(preprocessed: Path, tmp_path: Path) -> None:
    subjects = list(Plan.read(preprocessed).digests)
    weights = []
    for name, every in (("rarely", 100), ("often", 1)):
        folder = tmp_path / name
        train_fold(
            preprocessed,
            subjects=subjects[:4],
            validation_subjects=subjects[4:],
            images=["ct"],
            structures=["shell", "core"],
            network=NetworkConfig(channels=[4, 8]),
            config=TrainingConfig(epochs=3, iterations_per_epoch=2, patch_size=(16, 16, 16)),
            fold=0,
            checkpoints=folder / "checkpoints",
            history=folder / "training.csv",
            machine=folder / "machine.json",
            state_directory=folder / "state",
            tensorboard=folder / "tensorboard",
            example_images=folder / "example_images",
            diagnostics=DiagnosticsConfig(example_images_every=every, resources_every_s=every),
        )
        weights.append(checkpoint(folder / "checkpoints", 3).read_bytes())
    assert weights[0] == weights[1]
    assert len(list((tmp_path / "rarely/example_images").iterdir())) == 3
    assert len(list((tmp_path / "often/example_images").iterdir())) == 9
    assert [step for step, _ in points(tmp_path / "often/tensorboard/train", "Loss")] == [1, 2, 3]
    assert points(tmp_path / "often/tensorboard/val", "TimePerEpoch_Seconds")
    record = json.loads((tmp_path / "often/machine.json").read_text(encoding="utf-8"))
    assert record["resources"]["CPU/Process_Percent"]["max"] > 0
