"""More epochs than before, as a user asks for them: by an edit of the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from crossfold.learning.checkpoints import load_checkpoint
from tests.workflow.checkout import Checkout, copy_checkout

OVERLAY = """
datasets:
  tiny_phantom: {{source: phantom, subjects: 5, seed: 1}}
models:
  Lab:
    base: ProstateBase
    dataset: tiny_phantom
    splits: {{folds: 2, test: [phantom_002]}}
    preprocessing: {{spacing_mm: [12, 12, 12]}}
    network: {{channels: [4, 8]}}
    training:
      epochs: {epochs}
      iterations_per_epoch: 2
      patch_size: [16, 16, 8]
      loss:
        - {{method: focal, share: 0.5, class_weight_power: 0.2}}
        - {{method: squared_dice, share: 0.5, class_weight_power: 0.1}}
      optimiser: {{method: sgd, momentum: 0.6}}
      schedule: {{method: exponential, factor: 0.9, floor: 0.0001}}
      warmup: {{epochs: 2}}
      precision: fp16
      validate_every: 2
      checkpoints: {{first: 4, every: 2, keep_best: true}}
"""
FOLD = Path("results/Lab/folds/0")


def train(checkout: Checkout, epochs: int) -> dict[str, bytes]:
    overlay = checkout.write("lab.yaml", OVERLAY.format(epochs=epochs))
    done = checkout.snakemake("--configfile", overlay, "--", FOLD / "training.csv")
    assert done.code == 0, done.output + done.errors
    return checkpoints(checkout)


def checkpoints(checkout: Checkout) -> dict[str, bytes]:
    folder = checkout.folder / FOLD / "checkpoints"
    return {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}


def test_more_epochs_continue_what_has_ended(tmp_path: Path) -> None:
    """Snakemake deletes the results of the rule, and the state directory has what it takes."""
    checkout = copy_checkout(tmp_path / "checkout")
    assert set(train(checkout, 4)) == {"best.safetensors", "epoch_004.safetensors"}
    extended = train(checkout, 8)
    kept = {"best", "epoch_004", "epoch_006", "epoch_008"}
    assert set(extended) == {f"{name}.safetensors" for name in kept}
    record = json.loads((checkout.folder / FOLD / "machine.json").read_text(encoding="utf-8"))
    assert record["continued_after_epoch"] == 4
    log = (checkout.folder / "logs/train_fold/Lab_0.log").read_text(encoding="utf-8")
    assert "fold 0 continues after epoch 4" in log

    history = pd.read_csv(checkout.folder / FOLD / "training.csv")
    assert history["epoch"].unique().tolist() == [*range(1, 9)]
    assert load_checkpoint(checkout.folder / FOLD / "checkpoints/best.safetensors")

    # Trained from the start, it has the same bytes.
    done = checkout.snakemake(
        *("--configfile", checkout.folder / "lab.yaml", "--forcerun", "train_fold"),
        *("--", FOLD / "training.csv"),
    )
    assert done.code == 0, done.errors
    record = json.loads((checkout.folder / FOLD / "machine.json").read_text(encoding="utf-8"))
    assert record["continued_after_epoch"] == 0
    assert checkpoints(checkout) == extended
