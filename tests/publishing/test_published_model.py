"""A real model from training to publication, and what a colleague makes of a fresh clone of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repositories import IDENTITY
from tests.workflow.checkout import REPOSITORY, Checkout, copy_checkout

pytestmark = pytest.mark.slow

# As tests/configs/tiny.yaml, without a second run that it is compared with.
CONFIG = """
datasets: {tiny_phantom: {source: phantom, subjects: 8, seed: 1}}
models:
  Tiny:
    base: ProstateBase
    dataset: tiny_phantom
    splits: {folds: 2, test: [phantom_002, phantom_005]}
    preprocessing: {spacing_mm: [12, 12, 12]}
    network: {channels: [4, 8]}
    training: {epochs: 20, iterations_per_epoch: 3, patch_size: [16, 16, 8]}
    inference: {window: patch, batch_size: 4}
    publish: {left_out: [posteriors]}
statistics: {resamples: 999, compare: {}}
figures: {dpi: 50}
"""
CONFIGFILES = ("--configfile", "config.yaml", "tiny.yaml")
EVERYTHING = ("results/Tiny/ensemble_metrics.csv", "results/Tiny/report.html")
NOTHING = "Nothing to be done"


def run(checkout: Checkout, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=checkout.folder,
        env=checkout.environment | IDENTITY,
        capture_output=True,
        text=True,
        check=False,
    )


def crossfold(checkout: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(checkout, sys.executable, "-m", "crossfold", *arguments)


def dvc(checkout: Checkout, *arguments: str) -> str:
    done = run(checkout, sys.executable, "-m", "dvc", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def git(checkout: Checkout, *arguments: str) -> str:
    done = run(checkout, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A repository in which a model was trained and published by Snakemake."""
    checkout = copy_checkout(tmp_path_factory.mktemp("published") / "checkout")
    for name in (".gitignore", ".gitattributes", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (checkout.folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, checkout.folder / name)
    checkout.write("tiny.yaml", CONFIG)
    git(checkout, "init", "--quiet", "--initial-branch", "main")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "Start")
    done = subprocess.run(
        checkout.command("publish_Tiny", *CONFIGFILES),
        cwd=checkout.folder,
        env=checkout.environment | IDENTITY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert git(checkout, "log", "-1", "--format=%s") == "Publish Tiny"
    return checkout


@pytest.fixture
def clone(published: Checkout, tmp_path: Path) -> Checkout:
    """A fresh clone, on which nothing was pulled."""
    git(published, "clone", "--quiet", str(published.folder), str(tmp_path / "clone"))
    return Checkout(tmp_path / "clone", published.variables)


def test_a_fresh_clone_pulls_and_has_nothing_to_do(clone: Checkout) -> None:
    pulled = crossfold(clone, "pull")
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    plan = clone.snakemake("-n", *EVERYTHING, *CONFIGFILES)
    assert NOTHING in plan.output + plan.errors, plan.output
    assert "up to date" in dvc(clone, "status")
    assert "as published" in crossfold(clone, "verify").stdout
    assert not git(clone, "status", "--porcelain")
    # A colleague may publish as well; here there is nothing new.
    published = crossfold(clone, "publish", "Tiny", "--configfile", "tiny.yaml")
    assert "0 uploaded" in published.stdout, published.stderr
    assert "nothing to commit" in published.stdout


def test_a_clone_without_large_files_has_its_numbers(clone: Checkout) -> None:
    assert crossfold(clone, "restore").returncode == 0
    plan = clone.snakemake("-n", "results/Tiny/ensemble_metrics.csv", *CONFIGFILES)
    assert NOTHING in plan.output + plan.errors, plan.output
    assert "prostate" in dvc(clone, "metrics", "show")


def test_a_changed_parameter_is_seen_run_and_compared(clone: Checkout) -> None:
    """A colleague's view: clone, pull, change something, run again, compare."""
    assert crossfold(clone, "pull").returncode == 0
    config = CONFIG.replace(
        "    publish:",
        "    metrics: {nsd_tolerance_mm: {default: 9, seminalvesicles: 9}}\n    publish:",
    )
    clone.write("tiny.yaml", config)
    assert "models.Tiny" in dvc(clone, "status")
    refused = crossfold(
        clone, "publish", "Tiny", "--configfile", "tiny.yaml", "--allow-uncommitted"
    )
    assert "not up to date" in refused.stderr
    made = clone.snakemake("results/Tiny/metrics_summary.csv", *CONFIGFILES)
    assert made.code == 0, made.errors[-2000:]
    assert not {"train_fold", "preprocess_dataset", "predict_fold"} & made.jobs.keys()
    changes = json.loads(dvc(clone, "metrics", "diff", "--json"))["results/Tiny/metrics.json"]
    assert changes["val.external.nsd"]["new"] > changes["val.external.nsd"]["old"]
    assert "val.external.dice" not in changes
    verified = crossfold(clone, "verify")
    assert verified.returncode == 1
    assert "results/Tiny/metrics.csv: other configuration" in verified.stdout
    assert "metrics.nsd_tolerance_mm" in verified.stdout


def test_a_model_is_reproduced_to_the_byte(clone: Checkout, tmp_path: Path) -> None:
    again = tmp_path / "again"
    command = ("reproduce", "Tiny", "--folder", str(again), "--cores", "2")
    done = crossfold(clone, *command, "--configfile", "tiny.yaml")
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "Verdict: identical" in done.stdout
    assert (again / "results/Tiny/folds/1/checkpoints").is_dir()


def test_the_launcher_runs_the_commands_of_its_checkout(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    shutil.copy(REPOSITORY / "Makefile", checkout.folder)
    python = checkout.folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    launcher = python.with_name("crossfold")
    assert run(checkout, "make", "--silent", ".venv/bin/crossfold").returncode == 0
    done = subprocess.run([launcher, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "reproduce" in done.stdout, done.stderr
    assert os.access(launcher, os.X_OK)
