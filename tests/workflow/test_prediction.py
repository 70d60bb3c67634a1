"""Post-processing that is decided out of fold, STAPLE and several epochs, in one tiny run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from crossfold.config.prediction import PostprocessingConfig
from tests.workflow.checkout import TINY, Checkout, copy_checkout

pytestmark = pytest.mark.slow

RUN = Path("results/Decided")
OVERLAY = """
models:
  Decided:
    base: Tiny
    training: {epochs: 20, checkpoints: {every: 10}}
    test_epochs: [10]
    ensemble_aggregation: staple
    postprocessing:
      decide: true
      smoothing_mm: 6
      largest_component: [external, [femur_r, 0.2]]
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = copy_checkout(tmp_path_factory.mktemp("decided") / "checkout")
    shutil.copy2(TINY, made.folder)
    made.write("decided.yaml", OVERLAY)
    targets = [f"{RUN}/{name}" for name in ("ensemble_metrics.csv", "figures/epochs.png")]
    done = made.snakemake("--configfile", "tiny.yaml", "decided.yaml", "--", *targets)
    assert done.code == 0, done.output + done.errors
    return made


def test_the_ensemble_gets_what_was_decided_out_of_fold(checkout: Checkout) -> None:
    decided = json.loads((checkout.folder / RUN / "postprocessing.json").read_text("utf-8"))
    table = pd.read_csv(checkout.folder / RUN / "postprocessing.csv")
    steps = PostprocessingConfig(**decided)
    adopted = set(table.loc[table["adopted"], "step"]) - {"all that help"}
    components = {f"largest_component {name}" for name, _ in steps.components()}
    holes = {f"fill_holes {name}" for name in steps.fill_holes}
    smoothing = {"smoothing_mm"} if steps.smoothing_mm else set()
    assert adopted == components | holes | smoothing
    assert set(table["n"]) <= {5, 6}  # none of the two test subjects
    assert set(table["step"]) >= {"smoothing_mm", "largest_component femur_r", "fill_holes rectum"}


def test_members_disagree_in_shares(checkout: Checkout) -> None:
    for file in (checkout.folder / RUN / "ensemble/disagreement").glob("*.nii.gz"):
        shares = np.unique(np.asarray(nib.load(file).dataobj))
        assert set(shares.round(2)) <= {0.0, 0.5, 1.0}


def test_epochs_stand_side_by_side(checkout: Checkout) -> None:
    epochs = pd.read_csv(checkout.folder / RUN / "epochs.csv")
    assert {*zip(epochs["epoch"], epochs["model"], strict=True)} == {
        (10, "Decided@10"),
        (20, "Decided"),
    }
    assert epochs.loc[epochs["best_on_val"], "epoch"].nunique() == 1


def test_another_aggregation_predicts_nothing_again(checkout: Checkout) -> None:
    checkout.write("voted.yaml", OVERLAY.replace("staple", "majority_vote"))
    target = RUN / "ensemble_metrics.csv"
    plan = checkout.snakemake("-n", "--configfile", "tiny.yaml", "voted.yaml", "--", target)
    assert plan.code == 0, plan.errors
    assert plan.jobs["ensemble_folds"] == 1
    assert not {"train_fold", "predict_fold", "measure_fold", "find_postprocessing"} & {*plan.jobs}
