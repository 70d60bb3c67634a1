"""What runs again after which change, where the model was run and where it was pulled."""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from crossfold.__main__ import main
from crossfold.workflow import explain, record, restore
from tests.workflow.checkout import TINY, Checkout, Run, copy_checkout

pytestmark = pytest.mark.slow

TARGETS = tuple(
    f"results/Tiny/{name}"
    for name in ("metrics_summary.csv", "report.html", "ensemble_metrics.csv")
)
IMAGES = "data/tiny_phantom/images"

PAGES = {"write_tables", "write_reporting", "write_report"}
ABOUT_METRICS = {
    *("pool_metrics", "summarise_metrics", "compare_runs", "find_outliers", "draw_figure"),
    *PAGES,
}
MEASURED = {"measure_fold", "measure_ensemble", "measure_posteriors"} | ABOUT_METRICS
PREDICTED = {"predict_fold", "ensemble_folds", "draw_thumbnails"} | MEASURED
TRAINED = {"train_fold"} | PREDICTED
IMAGED = {
    *("validate_dataset", "inspect_annotations", "split_dataset", "preprocess_dataset"),
    *TRAINED,
}
EVERYTHING = {"import_dataset", "write_config", "write_plan"} | IMAGED

Change = Callable[[Checkout], None]


def model_key(text: str) -> Change:
    """Overrides a key of the model."""

    def change(checkout: Checkout) -> None:
        replace(checkout, "tiny.yaml", "    inference:", f"    {text}\n    inference:")

    return change


def text_of(file: str, before: str, after: str) -> Change:
    def change(checkout: Checkout) -> None:
        replace(checkout, file, before, after)

    return change


def replace(checkout: Checkout, file: str, before: str, after: str) -> None:
    text = (checkout.folder / file).read_text(encoding="utf-8")
    assert before in text
    checkout.write(file, text.replace(before, after, 1))


def correct_a_contour(checkout: Checkout) -> None:
    file = checkout.folder / IMAGES / "phantom_001_structures.nii.gz"
    labels = nib.load(file)
    voxels = np.asarray(labels.dataobj).copy()
    voxels[tuple(np.argwhere(voxels)[0])] = 0
    nib.save(nib.Nifti1Image(voxels, labels.affine, labels.header), file)


def add_a_subject(checkout: Checkout) -> None:
    table = checkout.folder / "data/tiny_phantom/dataset.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    own = [row for row in rows if "phantom_001" in row]
    added = [row.replace("phantom_001", "phantom_999") for row in own]
    table.write_text("\n".join([header, *rows, *added]) + "\n", encoding="utf-8")
    for row in own:
        file = table.parent / re.search(r"images/[^,]+", row)[0]
        copied = Path(str(file).replace("phantom_001", "phantom_999"))
        copied.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copied)


def update(package: str) -> Change:
    """Installs another version of a package, as far as its metadata tell."""

    def change(checkout: Checkout) -> None:
        folder = checkout.folder / "site" / f"{package}-99.0.dist-info"
        folder.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.0\n"
        (folder / "METADATA").write_text(text, encoding="utf-8")
        checkout.variables["PYTHONPATH"] = str(folder.parent)

    return change


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "learning rate": (
        text_of("tiny.yaml", "epochs: 40", "epochs: 40\n      learning_rate: 0.001"),
        TRAINED | {"write_config"},
    ),
    "augmentation": (
        text_of("tiny.yaml", "epochs: 40", "epochs: 40\n      augmentation: {noise: 0.3}"),
        TRAINED | {"write_config"},
    ),
    "post-processing": (
        model_key("postprocessing: {largest_component: [external]}"),
        PREDICTED | {"write_config"},
    ),
    "NSD tolerance": (
        model_key("metrics: {nsd_tolerance_mm: {default: 4}}"),
        MEASURED | {"write_config"},
    ),
    "size of figures": (
        text_of("tiny.yaml", "dpi: 50", "dpi: 51"),
        {"draw_figure", "write_report"},
    ),
    "comment": (text_of("tiny.yaml", "models:", "# the best so far\nmodels:"), set()),
    "another model": (
        text_of("tiny.yaml", "    base: Tiny\n", "    base: Tiny\n    training: {epochs: 80}\n"),
        set(),
    ),
    "contour": (correct_a_contour, IMAGED),
    "subject": (add_a_subject, IMAGED),
    "training code": (
        text_of("crossfold/learning/__init__.py", "STAGE_VERSION = ", "STAGE_VERSION = 1000 + "),
        TRAINED,
    ),
    "code of metrics": (
        text_of("crossfold/evaluation/metrics.py", "import numpy", "import math\nimport numpy"),
        MEASURED,
    ),
    "package of all": (update("scipy"), EVERYTHING),
    "package of training": (update("torch"), TRAINED),
    "package of figures": (update("matplotlib"), {"draw_figure", "draw_thumbnails"} | PAGES),
    # Not in the list of kinds: a script has no fingerprint, Snakemake goes by its time.
    "script": (
        text_of("scripts/summarise_metrics.py", "import", "# Again.\nimport"),
        {"summarise_metrics"} | PAGES,
    ),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the model was run, and in the end recorded."""
    checkout = copy_checkout(tmp_path_factory.mktemp("ran") / "checkout")
    shutil.copy2(TINY, checkout.folder)
    done = plan(checkout, "--quiet")
    assert done.code == 0, done.output + done.errors
    record("Tiny", checkout.folder)
    return checkout


@pytest.fixture(scope="module")
def pulled(ran: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout into which everything was pulled, and then restored."""
    checkout = clone(ran, tmp_path_factory.mktemp("pulled") / "checkout")
    found = restore(root=checkout.folder)
    assert [*found.differing, *found.changed, *found.made_here, *found.missing] == []
    return checkout


def clone(checkout: Checkout, folder: Path) -> Checkout:
    """Copy what git and DVC give, with the times that they give: those of their copying."""
    ignored = (".snakemake*", ".state", "logs", "__pycache__")
    shutil.copytree(checkout.folder, folder, ignore=shutil.ignore_patterns(*ignored))
    now, files = time.time(), sorted(folder.rglob("*"))
    random.Random(0).shuffle(files)
    for age, file in enumerate(files):
        os.utime(file, (now - age / 100, now - age / 100))
    return Checkout(folder, dict(checkout.variables))


@pytest.fixture(params=["ran", "pulled"])
def checkout(request: pytest.FixtureRequest, tmp_path: Path) -> Checkout:
    """A copy to change, of both checkouts in turn."""
    return copy_of(request.getfixturevalue(request.param), tmp_path / "checkout")


@pytest.fixture
def cloned(ran: Checkout, tmp_path: Path) -> Checkout:
    """A checkout into which everything was pulled, before it is restored."""
    return clone(ran, tmp_path / "checkout")


def copy_of(checkout: Checkout, folder: Path) -> Checkout:
    shutil.copytree(checkout.folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Checkout(folder, dict(checkout.variables))


def plan(checkout: Checkout, *options: str) -> Run:
    return checkout.snakemake("--configfile", "tiny.yaml", *options, "--", *TARGETS)


def rules_to_run(checkout: Checkout) -> set[str]:
    done = plan(checkout, "--dry-run")
    assert done.code == 0, done.output + done.errors
    return {*done.jobs}


def test_nothing_runs_again_without_a_change(checkout: Checkout) -> None:
    done = plan(checkout, "--dry-run")
    assert "Nothing to be done" in done.output + done.errors
    assert "missing provenance" not in done.output + done.errors


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_runs_what_depends_on_it(checkout: Checkout, kind: str) -> None:
    change, expected = CHANGES[kind]
    change(checkout)
    assert rules_to_run(checkout) == expected


@pytest.mark.parametrize("kind", ["learning rate", "script"])
def test_a_pull_without_restoring_is_checked_before_it_is_believed(
    cloned: Checkout, kind: str
) -> None:
    change, expected = CHANGES[kind]
    change(cloned)
    done = plan(cloned, "--dry-run")
    assert {*done.jobs} == expected
    assert "published files checked" in done.errors
    assert "published files checked" not in plan(cloned, "--dry-run").errors


def test_results_that_git_alone_has_brought_are_not_taken_for_those_of_another_configuration(
    ran: Checkout, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    for name in ("tiny.yaml", "results/Tiny/provenance.json", *TARGETS):
        (checkout.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ran.folder / name, checkout.folder / name)
    assert rules_to_run(checkout) == set()
    CHANGES["learning rate"][0](checkout)
    assert rules_to_run(checkout) == EVERYTHING


@pytest.mark.parametrize("change", [correct_a_contour, add_a_subject])
def test_a_change_before_restoring_is_named_and_runs_again(
    cloned: Checkout, change: Change
) -> None:
    change(cloned)
    for file in (cloned.folder / "data").rglob("*"):
        os.utime(file, (1e9, 1e9))
    found = restore(root=cloned.folder)
    assert found.differing == []
    assert IMAGES in found.changed
    assert rules_to_run(cloned) == IMAGED


def test_an_older_script_before_restoring_runs_again(cloned: Checkout) -> None:
    change, expected = CHANGES["script"]
    change(cloned)
    os.utime(cloned.folder / "scripts/summarise_metrics.py", (1e9, 1e9))
    assert restore(root=cloned.folder).changed == ["scripts/summarise_metrics.py"]
    assert rules_to_run(cloned) == expected


def test_a_differing_result_is_named_and_what_it_gave_runs_again(
    cloned: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = cloned.folder / "results/Tiny/metrics.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    os.utime(table, (1e9, 1e9))
    monkeypatch.chdir(cloned.folder)
    assert main(["restore", "Tiny"]) == 1
    assert "results/Tiny/metrics.csv: NOT as published" in capsys.readouterr().out
    assert rules_to_run(cloned) == ABOUT_METRICS - {"pool_metrics"}


def test_a_pull_of_the_final_files_is_enough(ran: Checkout, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    for name in ("tiny.yaml", "results/Tiny/provenance.json", *TARGETS):
        (checkout.folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ran.folder / name, checkout.folder / name)
    found = restore(root=checkout.folder)
    assert [*found.differing, *found.changed] == []
    assert {*TARGETS} <= {*found.same}
    assert rules_to_run(checkout) == set()
    # What another training reads is not there, and will be made as well.
    CHANGES["learning rate"][0](checkout)
    assert rules_to_run(checkout) == EVERYTHING


def test_what_was_made_here_is_kept(pulled: Checkout, tmp_path: Path) -> None:
    checkout = copy_of(pulled, tmp_path / "checkout")
    replace(checkout, "tiny.yaml", "resamples: 999", "resamples: 1999")
    done = checkout.snakemake("--configfile", "tiny.yaml", "--", TARGETS[0])
    assert done.code == 0, done.errors
    found = restore(root=checkout.folder)
    assert "results/Tiny/metrics_summary.csv" in found.made_here
    assert found.differing == []
    left = checkout.snakemake("--configfile", "tiny.yaml", "-n", "--", TARGETS[0])
    assert left.jobs == {}


def test_restoring_twice_changes_nothing(pulled: Checkout, tmp_path: Path) -> None:
    checkout = copy_of(pulled, tmp_path / "checkout")
    record("Tiny", checkout.folder)
    provenance = "results/Tiny/provenance.json"
    assert (checkout.folder / provenance).read_bytes() == (pulled.folder / provenance).read_bytes()
    restore(root=checkout.folder)
    assert rules_to_run(checkout) == set()


def test_a_result_is_explained(pulled: Checkout, tmp_path: Path) -> None:
    checkout = copy_of(pulled, tmp_path / "checkout")
    CHANGES["learning rate"][0](checkout)
    lines = list(explain("results/Tiny/ensemble_metrics.csv", ["tiny.yaml"], checkout.folder))
    said = "\n".join(lines)
    assert re.search(r"digest +[0-9a-f]{32}, as published", said)
    assert re.search(r"made by +rule measure_ensemble, 2\d{3}-[\d :-]+, in [\d.]+ s", said)
    assert re.search(r"code +scripts/measure_ensemble.py, modules [0-9a-f]{16}", said)
    assert re.search(r"software +.*numpy==", said)
    assert "nsd_tolerance_mm: {default: 3.0" in said
    for rule in ("import_dataset", "split_dataset", "train_fold", "predict_fold", "ensemble_folds"):
        assert f"      rule {rule}, " in said
    assert "      on processor " in said
    assert "rule train_fold (results/Tiny/folds/0/checkpoints" in said
    assert "      learning_rate: 0.006 -> 0.001" in lines
