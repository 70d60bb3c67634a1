from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from crossfold.config.models import ModelConfig
from crossfold.config.search import PruneConfig
from crossfold.data.dataset import Dataset
from crossfold.data.preprocessing import IMAGE, LABELS, Plan
from crossfold.data.splits import Fold, Member, Splits
from crossfold.learning.history import History
from crossfold.paths import subject_file
from crossfold.search import trial
from crossfold.search.proposals import Proposal
from crossfold.search.rounds import METRICS, RESULT, TRAINING, read_curves, write_curves
from crossfold.search.stopping import CURVE_COLUMNS, QuantileStopping, validation_curve
from crossfold.search.table import COMPLETE, FAILED, STOPPED
from crossfold.search.trial import Material, _History, run_trial
from tests.unit.learning.conftest import preprocessed  # noqa: F401

MODEL = ModelConfig(
    dataset="balls",
    images=["ct"],
    structures=["shell", "core"],
    network={"channels": [4, 8]},
    training={
        "epochs": 3,
        "iterations_per_epoch": 1,
        "batch_size": 1,
        "patch_size": [16, 16, 16],
        "validate_every": 1,
        "precision": "fp32",
        "checkpoints": {"every": 3},
    },
)
# A trial of an earlier round that nothing can reach.
CURVES = pd.DataFrame([(0, 0, COMPLETE, epoch, 1.0) for epoch in (1, 2, 3)], columns=CURVE_COLUMNS)


@pytest.fixture(scope="module")
def dataset(preprocessed: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:  # noqa: F811
    """The images that were preprocessed, on the grid that they have there."""
    folder = tmp_path_factory.mktemp("balls")
    rows = []
    for subject in Plan.read(preprocessed).digests:
        labels = np.load(subject_file(preprocessed, subject, LABELS))
        arrays = {"ct": np.load(subject_file(preprocessed, subject, IMAGE))[0].astype(np.float32)}
        arrays |= {"shell": (labels == 1) * np.uint8(1), "core": (labels == 2) * np.uint8(1)}
        for channel, array in arrays.items():
            file = f"{subject}_{channel}.nii.gz"
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / file)
            rows.append({"subject": subject, "channel": channel, "filePath": file})
    pd.DataFrame(rows).to_csv(folder / "dataset.csv", index=False)
    return Dataset.read(folder / "dataset.csv")


@pytest.fixture
def run(preprocessed: Path, dataset: Dataset, tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: F811
    subjects = [*Plan.read(preprocessed).digests]
    fold = Fold(train=frozenset(subjects[:4]), val=frozenset(subjects[4:]), test=frozenset())
    splits = Splits(tuple(Member(name, name, "") for name in subjects), (fold,))

    def run(parameters: dict[str, Any], prune: PruneConfig | None = None) -> dict[str, Any]:
        """Run a trial again, with the state of the runs before; return result.json."""
        target = tmp_path / "trial"
        for file in target.glob("*"):
            file.unlink()
        material = Material(
            *(MODEL, "Balls", True, 0, splits, dataset, preprocessed),
            prune=prune,
            curves=CURVES if prune else None,
        )
        state = tmp_path / "state"
        run_trial(material, Proposal(1, parameters), target, state_directory=state, device="cpu")
        return json.loads((target / RESULT).read_text())

    return run


def test_a_network_that_cannot_be_built_is_a_failed_trial(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = run({"network.channels": [4, 8], "network.strides": [[2, 2, 2]] * 3})
    assert found["status"] == FAILED
    assert "refuses its arguments" in found["reason"]
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "parameters",
    [
        {"network.strides": [[2, 2, 2]] * 3, "network.channels": [4] * 4},
        {
            "network.strides": [[2, 2, 2]] * 3,
            "network.channels": [4] * 4,
            "training.patch_size": [8, 16, 16],
            "training.half_resolution": 0.5,
        },
        {"network.kernel_sizes": [[2, 2, 2]] * 3, "network.strides": [[2, 2, 2]] * 2},
    ],
)
def test_a_network_that_cannot_take_its_crops_is_a_failed_trial(  # type: ignore[no-untyped-def]
    run, parameters: dict[str, Any]
) -> None:
    small = {"network.channels": [4, 4, 4], "training.patch_size": [8, 8, 8]}
    found = run({"training.batch_size": 1, **small, **parameters})
    assert found["status"] == FAILED
    assert "UNet takes no crops of [" in found["reason"]


def test_the_same_training_is_never_below_itself(tmp_path: Path) -> None:
    """Whether it is running or read from its table: digits that are not written do not decide."""
    dice = np.random.default_rng(0)
    for _ in range(50):
        history = History([f"structure_{number}" for number in range(7)])
        history.start(1, 0.01)
        history.record("val", 0.5, dice.uniform(0.2, 0.9, size=7).tolist())
        history.write(tmp_path / TRAINING)
        curve = validation_curve(pd.read_csv(tmp_path / TRAINING))
        columns = dict(zip(CURVE_COLUMNS, (0, 0, COMPLETE, curve.index, curve), strict=True))
        write_curves(tmp_path / "curves.csv", pd.DataFrame(columns))
        prune = PruneConfig(at_least=1)
        seen = _History(QuantileStopping(prune, read_curves(tmp_path / "curves.csv"), epochs=1))
        assert seen(history.frame()) is None
        assert seen.read(tmp_path / TRAINING) is None


def test_a_rule_that_changes_decides_again_of_what_was_trained(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    whole = run({})
    assert (whole["status"], whole["epochs"]) == (COMPLETE, 3)
    metrics = (tmp_path / "trial" / METRICS).read_bytes()
    weights = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    assert weights

    strict = PruneConfig(after=0.5, at_least=1)
    stopped = run({}, strict)
    assert (stopped["status"], stopped["epochs"]) == (STOPPED, 2)
    assert "epoch 2" in stopped["reason"]
    assert pd.read_csv(tmp_path / "trial" / TRAINING)["epoch"].max() == 2
    assert not (tmp_path / "trial" / METRICS).exists()

    assert run({})["status"] == COMPLETE
    assert (tmp_path / "trial" / METRICS).read_bytes() == metrics
    # None of it was trained again.
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")} == weights


def test_what_another_rule_stopped_is_trained_to_its_end(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    stopped = run({}, PruneConfig(after=0.5, at_least=1))
    assert (stopped["status"], stopped["epochs"]) == (STOPPED, 2)
    whole = run({})
    assert (whole["status"], whole["epochs"]) == (COMPLETE, 3)
    assert (tmp_path / "trial" / METRICS).is_file()


def test_a_prediction_that_does_not_fit_is_a_failed_trial(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    monkeypatch.setattr(trial, "_measure", too_large)
    found = run({})
    assert (found["status"], found["epochs"]) == (FAILED, 3)
    assert found["reason"] == "CUDA out of memory. Tried to allocate 2 GiB"
    assert not (tmp_path / "trial" / METRICS).exists()
