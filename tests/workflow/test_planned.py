"""A model with `plan: auto`: from nothing to metrics, and what runs again after which change."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from safetensors import safe_open

from tests.workflow.checkout import REPOSITORY, copy_checkout

pytestmark = pytest.mark.slow

CONFIG = REPOSITORY / "tests" / "configs" / "planned.yaml"
TRIALS = "results/Planned/search/rounds/0/trials.csv"
TARGETS = ("results/Planned/ensemble_metrics.csv", "results/Planned/folds/0/metrics.csv", TRIALS)
PLANNED = {"plan_model", "preprocess_dataset", "train_fold", "predict_fold", "ensemble_folds"}


def test_a_planned_model(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")

    def run(*options: str, **changed: str) -> set[str]:
        text = CONFIG.read_text(encoding="utf-8")
        for before, after in changed.values():
            assert before in text
            text = text.replace(before, after)
        checkout.write("planned.yaml", text)
        done = checkout.snakemake("--configfile", "planned.yaml", *options, "--", *TARGETS)
        assert done.code == 0, done.output + done.errors
        return set(done.jobs)

    run()
    results = checkout.folder / "results" / "Planned"
    values = json.loads((results / "plan.json").read_text())["values"]
    # What the base says stays; what nothing says is planned, trained with and kept.
    assert "largest_component" in str(json.loads((results / "config.json").read_text()))
    assert values["preprocessing.normalisation"]["reason"] == "set in config.yaml"
    patch = values["training.patch_size"]["value"]
    config = json.loads((results / "config.json").read_text())
    assert config["training"]["patch_size"] == patch
    assert config["training"]["augmentation"]["mirror_pairs"] == [["femur_r", "femur_l"]]
    checkpoint = results / "folds/0/checkpoints/epoch_002.safetensors"
    with safe_open(checkpoint, "pt") as file:
        assert json.dumps(patch) in json.dumps(file.metadata()).replace("\\", "")

    # A search begins with what is planned: that trial has the numbers of the fold.
    trial = pd.read_csv(checkout.folder / TRIALS).iloc[0]
    assert trial["training.learning_rate"] == values["training.learning_rate"]["value"]
    fold = pd.read_csv(results / "folds/0/metrics.csv").query("split == 'val'")
    for structure, dice in fold.groupby("structure")["dice"].mean().items():
        assert trial[f"dice_{structure}"] == pytest.approx(dice, rel=1e-5)

    assert run("--dry-run") == set()
    assert run("--dry-run", dpi=("dpi: 50", "dpi: 51")) == set()
    assert run("--dry-run", budget=("minutes: 0.2", "minutes: 0.3")) >= PLANNED | {"train_trial"}
    steps = ("plan: auto", "plan: auto\n    postprocessing: {fill_holes: [bladder]}")
    later = run("--dry-run", steps=steps)
    assert {"predict_fold", "ensemble_folds"} <= later
    assert not later & {"plan_model", "preprocess_dataset", "train_fold"}
