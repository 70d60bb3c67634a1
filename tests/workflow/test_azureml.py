"""The pipeline with its GPU rules on Azure Machine Learning, as the emulator gives it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from tests.unit.prediction.random_bundle import ct, save, write_random_bundle
from tests.workflow.checkout import (
    METRICS,
    REPOSITORY,
    SEARCH,
    TINY,
    Checkout,
    Run,
    copy_checkout,
    search_of,
    without_search,
)

if TYPE_CHECKING:
    from azureml_emulator.emulator import Emulator

pytestmark = pytest.mark.slow

OVERLAY = ("--configfile", "tiny.yaml", "--")
ARGUMENTS = (*OVERLAY, METRICS)
# Polls quickly: the emulator's jobs take seconds.
REMOTE = ("--profile", "azureml", "--seconds-between-status-checks", "1")


@pytest.fixture(scope="session")
def local_metrics(local: Checkout) -> bytes:
    return metrics_of(local)


@pytest.fixture
def checkout(tmp_path: Path, azureml: Emulator) -> Checkout:
    """A fresh clone, on a machine whose environment names a workspace."""
    made = copy_checkout(tmp_path / "checkout")
    shutil.copy2(TINY, made.folder)
    return with_workspace(made, azureml)


def with_workspace(checkout: Checkout, azureml: Emulator) -> Checkout:
    shutil.copy2(REPOSITORY / ".gitignore", checkout.folder)
    for command in ("init -q", "add -A", "-c user.name=me -c user.email=m@e commit -qm all"):
        subprocess.run(["git", *command.split()], cwd=checkout.folder, check=True)
    return replace(checkout, variables={**checkout.variables, **azureml.environment})


def metrics_of(checkout: Checkout) -> bytes:
    return (checkout.folder / METRICS).read_bytes()


def what_happened(azureml: Emulator, done: Run) -> str:
    """What a failed assertion is to show: of a machine elsewhere there is nothing else."""
    told = [
        f"{job.name}: {job.statuses}, {job.exit_codes}, {job.error}\n" + "".join(job.logs)
        for job in azureml.jobs()
    ]
    return "\n".join([done.output, done.errors, *told])


def remote(checkout: Checkout, *more: str) -> Run:
    return checkout.snakemake(*REMOTE, *more, *ARGUMENTS)


def test_folds_run_there_and_results_are_those_of_one_machine(
    checkout: Checkout, azureml: Emulator, local_metrics: bytes
) -> None:
    done = remote(checkout)
    assert done.code == 0, what_happened(azureml, done)
    assert metrics_of(checkout) == local_metrics
    # Training and prediction of a fold are one job, so that a node is started once.
    assert len(azureml.jobs()) == 2, what_happened(azureml, done)
    assert {job.status for job in azureml.jobs()} == {"Completed"}
    for fold in range(2):
        log = checkout.folder / "logs" / "train_fold" / f"Tiny_{fold}.log"
        assert "crossfold" in log.read_text(encoding="utf-8")
        assert (checkout.folder / f"results/Tiny/folds/{fold}/training.csv").is_file()
    again = checkout.snakemake(*ARGUMENTS)
    assert "Nothing to be done" in again.output + again.errors


def test_a_training_that_is_preempted_goes_on_where_it_was(
    checkout: Checkout, azureml: Emulator, local_metrics: bytes
) -> None:
    # Written after the state itself: the curve that `crossfold monitor` draws of a running fold.
    azureml.preempt(".*", mount=r"\.state/Tiny/fold_\d/\w+/training\.csv$", count=1)
    done = remote(checkout)
    assert done.code == 0, what_happened(azureml, done)
    assert metrics_of(checkout) == local_metrics
    assert len(azureml.jobs()) == 2, what_happened(azureml, done)
    assert sorted(job.runs for job in azureml.jobs()) == [1, 2]
    logs = (checkout.folder / "logs" / "train_fold").glob("Tiny_*.log")
    assert any("continues after epoch" in log.read_text(encoding="utf-8") for log in logs)


def test_a_search_there_is_that_of_one_machine(
    tmp_path: Path, azureml: Emulator, local: Checkout
) -> None:
    """Machines share no folder: what a trial is compared with reaches it as a file of its job."""
    folder = shutil.copytree(
        local.folder, tmp_path / "checkout", ignore=shutil.ignore_patterns(".state")
    )
    checkout = with_workspace(without_search(replace(local, folder=folder)), azureml)
    azureml.preempt(".*", mount=r"\.state/Tiny/search/trial_0/.*/training\.csv$", count=1)
    done = checkout.snakemake(*REMOTE, "--azureml-compute", "gpu-cluster", *OVERLAY, SEARCH)
    assert done.code == 0, what_happened(azureml, done)
    assert {(job.status, job.compute) for job in azureml.jobs()} == {("Completed", "gpu-cluster")}
    assert sorted(job.runs for job in azureml.jobs()) == [1, 1, 2]
    log = (checkout.folder / "logs/train_trial/Tiny_0_0.log").read_text(encoding="utf-8")
    assert "fold 0 continues after epoch" in log
    pd.testing.assert_frame_equal(search_of(checkout), search_of(local))
    assert [*search_of(checkout)["status"]] == ["complete", "complete", "stopped"]
    again = checkout.snakemake(*OVERLAY, SEARCH)
    assert "Nothing to be done" in again.output + again.errors


def test_jobs_of_a_killed_run_are_picked_up_by_the_next(
    checkout: Checkout, azureml: Emulator, local_metrics: bytes
) -> None:
    with subprocess.Popen(
        checkout.command(*REMOTE, *ARGUMENTS),
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 300
        while len(azureml.jobs()) < 2:
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert checkout.snakemake("--unlock", "--configfile", "tiny.yaml").code == 0
    done = remote(checkout)
    assert done.code == 0, what_happened(azureml, done)
    assert metrics_of(checkout) == local_metrics
    assert len(azureml.jobs()) == 2, what_happened(azureml, done)


def predict(checkout: Checkout, *arguments: object) -> Run:
    return checkout.run([sys.executable, "-m", "crossfold", "predict", *map(str, arguments)])


def test_images_are_predicted_there_as_they_are_here(
    checkout: Checkout, azureml: Emulator, tmp_path: Path
) -> None:
    """Model and images lie outside of the folder whose files jobs see; one is a link."""
    pytest.importorskip("highdicom")
    from tests.dicom_series import write_series

    model = write_random_bundle(tmp_path / "model")
    images = tmp_path / "images"
    save(images / "a.nii.gz", ct())
    (images / "b{2}.nii.gz").symlink_to(save(tmp_path / "elsewhere.nii.gz", ct(seed=1)))
    write_series(images / "Mueller_4711", ct(seed=2), spacing_mm=(2.0, 2.0, 3.0))
    save(images / "flat.nii.gz", ct()[:, :, 0])
    save(images / "nan.nii.gz", np.where(ct() > 0, np.nan, ct()))
    rows = [f"{name},ct,{name}.nii.gz" for name in ("a", "b{2}", "flat", "nan")]
    rows = ["subject,channel,filePath", "Mueller_4711,ct,Mueller_4711", *rows]
    (images / "dataset.csv").write_text("\n".join(rows) + "\n")
    profile = (REPOSITORY / "azureml/profile.yaml").read_text("utf-8")
    (checkout.folder / "quick").mkdir()
    checkout.write("quick/profile.yaml", profile + "\nseconds-between-status-checks: 1\n")
    asked = ["--model", model, "--image", images, "--within", tmp_path, "--threads", 1]
    there = ["--azureml", "--profile", "quick"]
    done = predict(checkout, *asked, *there)
    assert len(azureml.jobs()) == 1, what_happened(azureml, done)
    assert done.code == 1, what_happened(azureml, done)  # two images are refused
    assert "3 predicted, 2 refused" in done.output
    assert predict(checkout, *asked, "--output", "here").code == 1
    found, expected = (checkout.folder / name for name in ("predictions/Random", "here"))
    tables = [pd.read_csv(folder / "predictions.csv") for folder in (found, expected)]
    for table in tables:
        assert [*table["state"]] == ["predicted"] * 3 + ["refused"] * 2
    pd.testing.assert_series_equal(tables[0]["reason"], tables[1]["reason"])
    files = {file.relative_to(expected) for file in expected.rglob("*") if file.is_file()}
    assert {file.relative_to(found) for file in found.rglob("*") if file.is_file()} == files
    assert Path("Mueller_4711/structures.dcm") in files
    for file in files:
        if file.name not in ("prediction.json", "predictions.csv"):
            assert (found / file).read_bytes() == (expected / file).read_bytes(), file
    # Of DICOM, nothing was there but voxels and grid.
    assert azureml.blobs()
    for name, content in azureml.blobs().items():
        assert "Mueller" not in name
        assert b"Mueller" not in content, name
    # What was predicted there is known here.
    assert predict(checkout, *asked, "--output", found).code == 1
    assert [*pd.read_csv(found / "predictions.csv")["state"]][:3] == ["there already"] * 3
    assert len(azureml.jobs()) == 1


def test_without_a_workspace_three_lines_say_what_to_do(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout", HOME=str(tmp_path))
    shutil.copy2(TINY, checkout.folder)
    subprocess.run(["git", "init", "-q"], cwd=checkout.folder, check=True)
    done = remote(checkout)
    assert done.code != 0
    assert "config.json" in done.errors
    assert "AZUREML_SUBSCRIPTION_ID" in done.errors
    assert "Traceback" not in done.errors


def test_a_dry_run_needs_no_network(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    shutil.copy2(TINY, checkout.folder)
    done = checkout.snakemake("--profile", "azureml", "-n", *ARGUMENTS)
    assert done.code == 0, done.errors
    assert done.jobs["train_fold"] == 2
