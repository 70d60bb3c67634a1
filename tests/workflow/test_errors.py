"""Bad input as a user meets it: what Snakemake prints in the end."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from tests.workflow.checkout import Checkout, Run, copy_checkout

GOOD = "dataset: good, images: [ct], structures: [organ]"
SUBJECTS = ("s1", "s2", "s3", "s4", "s5", "s6")


def write_images(folder: Path, subjects: tuple[str, ...], *, empty: bool = False) -> None:
    """Write a noisy cube and the mask of an organ for every subject."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for subject in subjects:
        mask = np.zeros((8, 8, 8), np.uint8)
        mask[2:6, 2:6, 2:6] = not empty
        for channel, array in (("ct", random.normal(size=(8, 8, 8))), ("organ", mask)):
            image = nib.Nifti1Image(array.astype(np.float32), np.eye(4))
            nib.save(image, folder / f"{subject}_{channel}.nii.gz")


def dataset(path: str) -> str:
    patterns = "images: {ct: '{subject}_ct.nii.gz'}, structures: {organ: '{subject}_organ.nii.gz'}"
    return f"{{source: folder, path: {path}, {patterns}}}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = copy_checkout(tmp_path_factory.mktemp("errors") / "checkout")
    write_images(checkout.folder / "good", SUBJECTS)
    write_images(checkout.folder / "empty", SUBJECTS, empty=True)
    write_images(checkout.folder / "cut", SUBJECTS)
    cut = checkout.folder / "cut" / "s3_ct.nii.gz"
    cut.write_bytes(cut.read_bytes()[:900])
    (checkout.folder / "nothing").mkdir()
    checkout.write(
        "bad_data.yaml",
        f"""
datasets:
  good: {dataset("good")}
  empty: {dataset("empty")}
  cut: {dataset("cut")}
  nothing: {dataset("nothing")}
  gone: {dataset("no/such/folder")}
  unset: {dataset("$NO_SUCH_VARIABLE/data")}
models:
  Good: {{{GOOD}, splits: {{folds: 2, test: [s1]}}}}
  Empty: {{base: Good, dataset: empty}}
  Cut: {{base: Good, dataset: cut}}
  Nothing: {{base: Good, dataset: nothing}}
  Gone: {{base: Good, dataset: gone}}
  Unset: {{base: Good, dataset: unset}}
  Unknown: {{base: Good, structures: [orgam]}}
  Few: {{base: Good, splits: {{folds: 6}}}}
  Stranger: {{base: Good, splits: {{test: [s1, s9]}}}}
""",
    )
    return checkout


@pytest.fixture(scope="module")
def bad_data(checkout: Checkout) -> Run:
    """All bad datasets in one run that goes on after every error, up to the splits."""
    models = ("Empty", "Cut", "Nothing", "Gone", "Unset", "Unknown", "Few", "Stranger")
    targets = [f"results/{model}/splits.csv" for model in models]
    return checkout.snakemake("--keep-going", "--configfile", "bad_data.yaml", "--", *targets)


def final_words(run: Run) -> list[str]:
    """The errors that stand after all that Snakemake has printed."""
    said = run.errors.rpartition("At least one job did not complete successfully.")[2]
    return [message.strip() for message in re.split(r"^Error in ", said, flags=re.M)[1:]]


BAD_DATA = {
    "path missing": ("config.yaml: datasets.gone.path", "no/such/folder", "correct the path"),
    "unset variable": ("config.yaml: datasets.unset.path", "NO_SUCH_VARIABLE", "export NO_SUCH"),
    "no subject": ("config.yaml: datasets.nothing", "no file matches", "correct the pattern"),
    "truncated": ("results/Cut/dataset_report.csv", "s3_ct.nii.gz: damaged or truncated", "mend"),
    "absent everywhere": (
        "results/Empty/dataset_report.csv",
        "organ: has no voxel",
        "leave it out",
    ),
    "unknown structure": ("results/Unknown/dataset_report.csv", "did you mean `organ`?", "correct"),
    "too few subjects": ("model Few: splits.folds", "6 folds of 5 subjects", "lower splits.folds"),
    "unknown subject": ("model Stranger: splits.test", "unknown subject `s9`", "name one of"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_told_at_the_end_with_its_remedy(bad_data: Run, case: str) -> None:
    assert bad_data.code != 0
    place, value, remedy = BAD_DATA[case]
    told = [message for message in final_words(bad_data) if place in message and value in message]
    assert len(told) == 1, "\n\n".join(final_words(bad_data))
    assert "Remedy: " in told[0]
    assert remedy in told[0].partition("Remedy: ")[2]


def test_bad_data_shows_no_traceback_and_nothing_twice(bad_data: Run) -> None:
    said = bad_data.output + bad_data.errors
    assert "Traceback" not in said
    messages = final_words(bad_data)
    assert len(messages) == len(BAD_DATA)
    assert all(said.count(message.splitlines()[0]) == 1 for message in messages)


def test_a_truncated_file_is_in_the_report_and_nothing_is_trained(
    checkout: Checkout, bad_data: Run
) -> None:
    report = pd.read_csv(checkout.folder / "results/Cut/dataset_report.csv", dtype=str)
    row = report[(report["subject"] == "s3") & (report["severity"] == "error")].iloc[0]
    assert "s3_ct.nii.gz" in " ".join(map(str, row))
    assert not (checkout.folder / "results/Cut/splits.csv").exists()


BAD_CONFIG = {
    "unknown key": (
        f"models: {{M: {{{GOOD}, training: {{epochz: 3}}}}}}",
        "bad.yaml: models.M.training.epochz: unknown key `epochz`",
        "did you mean `epochs`?",
    ),
    "unknown section": ("modles: {}", "bad.yaml: modles: unknown key", "did you mean `models`?"),
    "wrong type": (
        f"models: {{M: {{{GOOD}, training: {{epochs: many}}}}}}",
        "bad.yaml: models.M.training.epochs: is 'many'",
        "integer",
    ),
    "unknown base": (
        "models: {M: {base: ProstateBas}}",
        "models.M.base: unknown model `ProstateBas`",
        "did you mean `ProstateBase`?",
    ),
    "circle of bases": (
        "models: {Aa: {base: Bb}, Bb: {base: Aa}}",
        "Aa -> Bb -> Aa",
        "remove one `base:`",
    ),
    "unknown dataset": (
        f"models: {{M: {{{GOOD.replace('good', 'hipocampus')}}}}}",
        "bad.yaml: models.M.dataset: unknown dataset `hipocampus`",
        "did you mean `hippocampus`?",
    ),
    "unknown structure in a section": (
        "models: {M: {base: Prostate, postprocessing: {largest_component: [prostat]}}}",
        "postprocessing.largest_component",
        "prostate",
    ),
    "value of an inherited key": (
        "models: {M: {base: Prostate, splits: {folds: 0}}}",
        "bad.yaml: models.M.splits.folds: is 0",
        "greater than or equal to 1",
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIG)
def test_a_bad_configuration_is_told_before_any_job(checkout: Checkout, case: str) -> None:
    text, message, remedy = BAD_CONFIG[case]
    checkout.write("bad.yaml", text)
    run = checkout.snakemake("-n", "--configfile", "bad.yaml")
    assert run.code != 0
    last = run.errors.rpartition("Error in the configuration: ")[2]
    assert message in last
    assert remedy in last.partition("Remedy: ")[2]
    assert len(last.strip().splitlines()) == 2, last
    assert "Traceback" not in run.errors
    assert "File " not in last


def test_an_error_in_config_yaml_names_config_yaml(checkout: Checkout) -> None:
    file = checkout.folder / "config.yaml"
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(text.replace("width_mm", "width_cm"), encoding="utf-8")
        run = checkout.snakemake("-n")
    finally:
        file.write_text(text, encoding="utf-8")
    assert "config.yaml: figures.width_cm: unknown key `width_cm`" in run.errors
    assert "did you mean `width_mm`?" in run.errors


BAD_TARGETS = {
    "an ensemble without a test set": (
        "splits: {test: 0}",
        "results/M/ensemble_metrics.csv",
        "config.yaml: models.M.splits.test: there is no test subject",
        "metrics.csv",
    ),
    "an epoch that is not kept": (
        "training: {epochs: 6, checkpoints: {every: 3}}",
        "results/M@4/ensemble_metrics.csv",
        "models.M.training keeps no checkpoint of epoch 4",
        "choose one of 3, 6",
    ),
}


@pytest.mark.parametrize("case", BAD_TARGETS)
def test_an_impossible_target_is_refused_before_training(checkout: Checkout, case: str) -> None:
    section, target, message, remedy = BAD_TARGETS[case]
    checkout.write("bad.yaml", f"models: {{M: {{base: Prostate, {section}}}}}")
    run = checkout.snakemake("-n", "--configfile", "bad.yaml", "--", target)
    assert run.code != 0
    last = run.errors.rpartition("Error in the configuration: ")[2]
    assert message in last
    assert remedy in last.partition("Remedy: ")[2]
    assert "Traceback" not in run.errors
