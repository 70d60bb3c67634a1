"""The bundle of a tiny model: verified by its rule, and run by MONAI without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.workflow.checkout import TINY, Checkout, copy_checkout

pytestmark = pytest.mark.slow

RUN = Path("results/Bundled")
OVERLAY = """
models:
  Bundled:
    base: Tiny
    training: {epochs: 4, checkpoints: {every: 2}}
    inference: {mirror_axes: [y]}
    postprocessing: {decide: true, smoothing_mm: 6, largest_component: [external]}
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = copy_checkout(tmp_path_factory.mktemp("bundled") / "checkout")
    shutil.copy2(TINY, made.folder)
    made.write("bundled.yaml", OVERLAY)
    target = RUN / "model_verified.json"
    done = made.snakemake("--configfile", "tiny.yaml", "bundled.yaml", "--", target)
    assert done.code == 0, done.output + done.errors
    return made


def test_the_rule_proves_that_no_voxel_differs(checkout: Checkout) -> None:
    proof = json.loads((checkout.folder / RUN / "model_verified.json").read_text("utf-8"))
    assert proof["differing_voxels"] == {"posterior": 0, "segmentation": 0}
    assert proof["folds"] == [0, 1]


def test_monai_runs_the_bundle_alone(checkout: Checkout, tmp_path: Path) -> None:
    bundle = shutil.copytree(checkout.folder / RUN / "model", tmp_path / "Bundled")
    subject = json.loads((checkout.folder / RUN / "model_verified.json").read_text())["subject"]
    (tmp_path / "images").mkdir()
    for image in (checkout.folder / "data/tiny_phantom/images").glob(f"{subject}_ct*"):
        shutil.copy2(image, tmp_path / "images")
    command = [sys.executable, "-m", "monai.bundle", "run"]
    options = {
        "config_file": bundle / "configs/inference.json",
        "dataset_dir": tmp_path / "images",
        "output_dir": tmp_path / "found",
    }
    done = subprocess.run(
        [*command, *(part for name, path in options.items() for part in (f"--{name}", str(path)))],
        cwd=tmp_path,
        env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (tmp_path / "found").glob("*.nii.gz")
    found = nib.load(file)
    expected = nib.load(checkout.folder / RUN / "ensemble/segmentations" / f"{subject}.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_array_equal(found.affine, expected.affine)


def test_the_metrics_do_not_wait_for_the_bundle(checkout: Checkout) -> None:
    target = RUN / "ensemble_metrics.csv"
    plan = checkout.snakemake(
        "-n", "--forceall", "--configfile", "tiny.yaml", "bundled.yaml", "--", target
    )
    assert plan.code == 0, plan.errors
    assert not {"write_bundle", "verify_bundle"} & {*plan.jobs}
