"""The whole pipeline on a tiny phantom, in an empty folder, as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from crossfold.paper import catalogue
from crossfold.paper.catalogue import TABLES
from crossfold.paths import STATISTICS_TABLES
from tests.workflow.checkout import TINY, Checkout, Run, copy_checkout

# The model has no `test_epochs`.
FIGURES = {name: each for name, each in catalogue.FIGURES.items() if not each.needs_epochs}
pytestmark = pytest.mark.slow

MODEL = Path("results/Tiny")
METRICS = "results/Tiny/ensemble_metrics.csv"
EARLIER = "results/Tiny@20/ensemble_metrics.csv"
TARGETS = ("results/Tiny/metrics_summary.csv", "results/Tiny/report.html", METRICS)
TEST_SUBJECTS = {"phantom_002", "phantom_005"}
FOLD_FILES = (
    "checkpoints/epoch_020.safetensors",
    "checkpoints/epoch_040.safetensors",
    "training.csv",
    "metrics.csv",
)


def run(checkout: Checkout, *arguments: str, overlay: str = "tiny.yaml") -> Run:
    return checkout.snakemake("--configfile", overlay, *arguments)


def plan(checkout: Checkout, overlay: str) -> dict[str, int]:
    """Jobs of a dry run with another overlay."""
    done = run(checkout, "-n", "--", *TARGETS, overlay=overlay)
    assert done.code == 0, done.errors
    return done.jobs


def edited(checkout: Checkout, before: str, after: str) -> str:
    text = (checkout.folder / "tiny.yaml").read_text(encoding="utf-8")
    assert before in text
    return str(checkout.write("edited.yaml", text.replace(before, after)))


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, Run]:
    checkout = copy_checkout(tmp_path_factory.mktemp("pipeline") / "checkout")
    shutil.copy2(TINY, checkout.folder)
    done = run(checkout, "--", *TARGETS)
    assert done.code == 0, done.output + done.errors
    return checkout, done


@pytest.fixture(scope="module")
def checkout(first_run: tuple[Checkout, Run]) -> Checkout:
    return first_run[0]


def test_every_file_of_a_model_is_there(checkout: Checkout) -> None:
    model = checkout.folder / MODEL
    expected = [
        "config.json",
        "dataset_report.csv",
        "dataset_report.html",
        "splits.csv",
        *(f"folds/{fold}/{name}" for fold in range(2) for name in FOLD_FILES),
        "ensemble_metrics.csv",
        "metrics.csv",
        "metrics_summary.csv",
        "report.html",
        *(f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("png", "pdf", "csv")),
        *(f"tables/{name}.{suffix}" for name in TABLES for suffix in ("tex", "csv", "html")),
        *(f"statistics/{name}.csv" for name in STATISTICS_TABLES),
        "statistics/wilcoxon.txt",
        "statistics/mann_whitney.txt",
        "outliers/outliers.csv",
        "outliers/val_outliers.txt",
        "annotations/extremes.csv",
        "reporting/checklist_claim.csv",
        "reporting/model_card.md",
    ]
    assert [name for name in expected if not (model / name).stat().st_size] == []
    splits = pd.read_csv(model / "splits.csv")
    for fold in range(2):
        validated = splits[(splits["fold"] == fold) & (splits["role"] == "val")]["subject"]
        for kind in ("posteriors", "segmentations"):
            folder = model / "folds" / str(fold) / kind
            assert names(folder / "val") == set(validated)
            assert names(folder / "test") == TEST_SUBJECTS
    for kind in ("posteriors", "segmentations", "uncertainty"):
        assert names(model / "ensemble" / kind) == TEST_SUBJECTS
    assert not list(checkout.folder.rglob(".part-*"))
    # Nothing is under way; what has ended is there for more epochs.
    assert not checkout.running_states()
    assert len(list((checkout.folder / ".state").glob("Tiny/fold_*/finished/*/state.pt"))) == 2


def test_a_training_can_be_looked_at(checkout: Checkout) -> None:
    for fold in range(2):
        folder = checkout.folder / MODEL / "folds" / str(fold)
        for part in ("train", "val", "resources"):
            assert len(list((folder / "tensorboard" / part).glob("events.out.tfevents.*"))) == 1
        examples = names(folder / "example_images")
        assert len(examples) == 4 * 3  # epochs 10, 20, 30, 40: image, labels, prediction
        assert {name.partition("_epoch_")[2] for name in examples} == {
            f"0{epoch}_{kind}"
            for epoch in (10, 20, 30, 40)
            for kind in ("image", "label", "prediction")
        }
    log = (checkout.folder / "logs/train_fold/Tiny_0.log").read_text()
    assert log.count("fold 0, epoch ") == 40


def test_what_is_looked_at_changes_no_result(checkout: Checkout) -> None:
    looks = "    diagnostics: {example_images_every: 1, resources_every_s: 1}\n"
    overlay = edited(checkout, "    inference:", f"{looks}    inference:")
    jobs = plan(checkout, overlay)
    assert not {"preprocess_dataset", "train_fold", "predict_fold"} & {*jobs}


def names(folder: Path) -> set[str]:
    return {file.name.removesuffix(".nii.gz") for file in folder.glob("*.nii.gz")}


def test_maps_lie_on_the_grid_of_their_source(checkout: Checkout) -> None:
    data = checkout.folder / "data" / "tiny_phantom"
    table = pd.read_csv(data / "dataset.csv").set_index(["subject", "channel"])["filePath"]
    for subject in TEST_SUBJECTS:
        source = nib.load(data / table[subject, "ct"])
        for kind in ("posteriors", "segmentations", "uncertainty"):
            written = nib.load(checkout.folder / MODEL / "ensemble" / kind / f"{subject}.nii.gz")
            assert written.shape[:3] == source.shape
            np.testing.assert_allclose(written.affine, source.affine, atol=1e-5)


def test_the_tables_cover_every_subject_and_structure(checkout: Checkout) -> None:
    ensemble = pd.read_csv(checkout.folder / METRICS)
    assert set(ensemble["subject"]) == TEST_SUBJECTS
    assert len(ensemble) == 2 * 7
    assert ensemble["synthetic"].all()
    pooled = pd.read_csv(checkout.folder / MODEL / "metrics.csv")
    validated = pooled[pooled["split"] == "val"]
    assert len(validated) == 6 * 7
    assert not validated.duplicated(["subject", "structure"]).any()


def test_a_run_ends_by_saying_what_it_made(first_run: tuple[Checkout, Run]) -> None:
    made = first_run[1].output.rpartition("Made:")[2]
    for target in TARGETS:
        assert target in made


def test_a_second_run_does_nothing(checkout: Checkout) -> None:
    done = run(checkout, "--", *TARGETS)
    assert done.code == 0
    assert "Nothing to be done" in done.output + done.errors


def test_a_comment_reruns_nothing(checkout: Checkout) -> None:
    overlay = edited(checkout, "models:", "# a comment\nmodels:")
    assert plan(checkout, overlay) == {}


def test_the_looks_of_figures_rerun_nothing_but_figures(checkout: Checkout) -> None:
    overlay = edited(checkout, "dpi: 50", "dpi: 51")
    assert plan(checkout, overlay) == {"draw_figure": len(FIGURES), "write_report": 1}


def test_an_outlier_threshold_measures_nothing_again(checkout: Checkout) -> None:
    overlay = edited(checkout, "    inference:", "    outliers: {dice: 0.9}\n    inference:")
    jobs = plan(checkout, overlay)
    assert jobs["find_outliers"] == 1
    assert not {"train_fold", "predict_fold", "measure_fold", "measure_posteriors"} & {*jobs}


def test_the_plan_of_comparisons_was_written_before_the_results(checkout: Checkout) -> None:
    plan = json.loads((checkout.folder / MODEL / "statistics/plan.json").read_text("utf-8"))
    assert plan["results_existed"] is False
    assert plan["runs"] == ["Tiny", "Tiny@20"]


def test_a_planned_comparison_reaches_the_table(checkout: Checkout) -> None:
    comparisons = pd.read_csv(checkout.folder / MODEL / "statistics/comparisons.csv")
    planned = comparisons[comparisons["role"] == "confirmatory"]
    assert len(planned) == 7 * 2
    assert set(planned["run_b"]) == {"Tiny@20"}
    assert set(planned["n"]) == {6}


def test_the_report_of_snakemake_shows_every_figure_and_table(checkout: Checkout) -> None:
    done = run(checkout, "--report", "report.zip", "--", "results/Tiny/report.html")
    assert done.code == 0, done.output + done.errors
    with zipfile.ZipFile(checkout.folder / "report.zip") as archive:
        page = archive.read("report/report.html").decode("utf-8")
    results = json.JSONDecoder().raw_decode(page[page.index('{"results/Tiny/report.html": ') :])[0]
    categories = json.JSONDecoder().raw_decode(page.partition("var categories = ")[2])[0]
    # Of two files with the same labels in a category, the page opens one.
    shown = {
        (category, *results[file]["labels"].values()): file
        for category, subcategories in categories.items()
        for files in subcategories.values()
        for file in files
    }
    figures = {
        (figure.category, "Tiny", figure.title): f"{MODEL}/figures/{name}.png"
        for name, figure in FIGURES.items()
    }
    tables = {
        ("Tables", "Tiny", name.capitalize()): f"{MODEL}/tables/{name}.html" for name in TABLES
    }
    assert shown == figures | tables | {("Report", "Tiny"): f"{MODEL}/report.html"}
    for name, figure in FIGURES.items():
        assert figure.caption in results[f"{MODEL}/figures/{name}.png"]["caption"]


def test_a_learning_rate_retrains_its_model_and_prepares_nothing_again(checkout: Checkout) -> None:
    overlay = edited(
        checkout, "      epochs: 40\n", "      epochs: 40\n      learning_rate: 0.001\n"
    )
    jobs = plan(checkout, overlay)
    assert jobs["train_fold"] == 2
    assert not {"import_dataset", "validate_dataset", "split_dataset", "preprocess_dataset"} & {
        *jobs
    }


def test_the_learning_rate_of_another_model_retrains_only_that(checkout: Checkout) -> None:
    overlay = edited(
        checkout, "    base: Tiny\n", "    base: Tiny\n    training: {learning_rate: 0.001}\n"
    )
    assert plan(checkout, overlay) == {}


def test_an_earlier_epoch_is_measured_without_training(first_run: tuple[Checkout, Run]) -> None:
    checkout, done = first_run
    assert done.jobs["train_fold"] == 2
    assert done.jobs["predict_fold"] == 4
    early, late = (pd.read_csv(checkout.folder / file) for file in (EARLIER, METRICS))
    assert set(early["model"]) == {"Tiny@20"}
    assert early["dice"].tolist() != late["dice"].tolist()


def test_a_killed_training_continues_and_gives_the_same_bytes(checkout: Checkout) -> None:
    first = (checkout.folder / METRICS).read_bytes()
    shutil.rmtree(checkout.folder / MODEL)
    kill_during_training(checkout)
    assert not list((checkout.folder / MODEL).rglob("*.safetensors"))
    assert run(checkout, "--unlock").code == 0
    done = run(checkout, "--", METRICS)
    assert done.code == 0, done.output + done.errors
    logs = (checkout.folder / "logs" / "train_fold").glob("Tiny_*.log")
    assert any("continues after epoch" in log.read_text(encoding="utf-8") for log in logs)
    assert (checkout.folder / METRICS).read_bytes() == first


def kill_during_training(checkout: Checkout) -> None:
    """Kill Snakemake and all its jobs as soon as an epoch of a fold has been saved."""
    command = checkout.command("--configfile", "tiny.yaml", "--", METRICS)
    with subprocess.Popen(
        command,
        cwd=checkout.folder,
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not checkout.running_states():
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
