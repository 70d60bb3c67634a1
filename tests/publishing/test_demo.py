"""The demo that this repository holds, as someone who has just cloned it finds it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.workflow.checkout import REPOSITORY, Checkout

TARGET = "results/Prostate/ensemble_metrics.csv"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A fresh clone of the last commit, after `make pull`."""
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if head.returncode:
        pytest.skip(f"not a clone that git can read: {head.stderr.strip()}")
    folder = tmp_path_factory.mktemp("demo") / "crossfold"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, folder], check=True)
    clone = Checkout(folder, {})
    done = crossfold(clone, "pull")
    assert done.returncode == 0, done.stdout + done.stderr
    return clone


def crossfold(clone: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crossfold", *arguments],
        cwd=clone.folder,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", [TARGET, "results/Prostate/report.html"])
def test_nothing_needs_to_be_done(clone: Checkout, target: str) -> None:
    """If this fails after an edit of the code: `make publish MODEL=Prostate`, and commit."""
    done = clone.snakemake("-n", target)
    assert "Nothing to be done" in done.output + done.errors, done.output


def test_every_file_is_as_published(clone: Checkout) -> None:
    done = crossfold(clone, "verify", "Prostate")
    assert done.returncode == 0, done.stdout


def test_another_tolerance_measures_again_and_trains_nothing(clone: Checkout) -> None:
    config = clone.folder / "config.yaml"
    before, after = "nsd_tolerance_mm: {default: 3,", "nsd_tolerance_mm: {default: 4,"
    text = config.read_text(encoding="utf-8")
    assert before in text
    clone.write("config.yaml", text.replace(before, after))
    done = clone.snakemake("-n", TARGET)
    assert done.code == 0, done.errors
    assert "train_fold" not in done.jobs
    assert "measure_ensemble" in done.jobs
