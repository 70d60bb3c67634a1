"""The folder that docs/your_own_lab.md builds, beside a checkout in which nothing is changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import safetensors

from crossfold.paths import checkpoint
from tests.unit.registry.bundles import make_bundle, verify
from tests.workflow.checkout import REPOSITORY, Checkout, Run, copy_checkout

pytestmark = pytest.mark.slow

PAGE = (REPOSITORY / "docs" / "your_own_lab.md").read_text(encoding="utf-8")
FILES = re.findall(r"^## my_lab/(\S+)\n.*?^```\w+\n(.*?)^```", PAGE, flags=re.M | re.S)
HELLO_WORLD = """
  Hello:
    base: innereye.HelloWorld
    dataset: my_pelvis
    images: [ct]
    structures: [bladder, rectum]
    splits: {train: [phantom_001, phantom_002], val: [phantom_003], test: [phantom_004]}
    preprocessing: {mask: external}
    training: {iterations_per_epoch: 2}
"""
SPLITS = "results/MyPelvis/splits.csv"
SEGMENTATIONS = "results/MyPelvis/folds/0/segmentations"
HOOK = "results/MyPelvis/hooks/post_cross_validation.txt"
DEPLOYED = "results/MyPelvis/hooks/model_deployment.txt"
HELLO = "results/Hello/folds/0/checkpoints"


def ask(checkout: Checkout, *targets: str, options: tuple[str, ...] = ()) -> Run:
    return checkout.snakemake(*options, "--configfile", "../my_lab/config.yaml", "--", *targets)


def plan(checkout: Checkout, target: str) -> Run:
    return ask(checkout, target, options=("-n",))


def edit(file: Path, old: str, new: str) -> str:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return text


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the lab beside it, in which one fold has been trained and predicts."""
    above = tmp_path_factory.mktemp("lab")
    (above / "my_lab").mkdir()
    for name, text in FILES:
        extra = HELLO_WORLD if name == "config.yaml" else ""
        (above / "my_lab" / name).write_text(text + extra, encoding="utf-8")
    checkout = copy_checkout(above / "checkout")
    done = ask(checkout, SEGMENTATIONS, HELLO)
    assert done.code == 0, done.errors
    return checkout


@pytest.fixture
def lab(checkout: Checkout) -> Path:
    return checkout.folder.parent / "my_lab"


def test_the_page_has_every_file_that_it_names() -> None:
    listed = re.findall(r"^      (\w+\.\w+)$", PAGE, flags=re.M)
    assert [name for name, _ in FILES] == listed
    assert len(listed) == 7


def test_the_function_has_divided_the_subjects(checkout: Checkout) -> None:
    splits = pd.read_csv(checkout.folder / SPLITS)
    assert set(splits.query("role == 'test'")["institution"]) == {"phantom_c"}
    assert "phantom_c" not in set(splits.query("role != 'test'")["institution"])
    assert splits.query("role == 'val'").groupby("subject").size().eq(1).all()


def test_network_and_loss_are_those_of_the_lab(checkout: Checkout) -> None:
    file = checkpoint(checkout.folder / "results/MyPelvis/folds/0/checkpoints", 4)
    with safetensors.safe_open(file, "pt") as weights:
        assert "my_lab.nets.MyNet" in weights.metadata()["crossfold"]
        assert weights.get_tensor("layers.0.weight").shape == (8, 1, 3, 3, 3)
    history = pd.read_csv(checkout.folder / "results/MyPelvis/folds/0/training.csv")
    loss = history.query("phase == 'train' and metric == 'loss'")["value"]
    assert loss.iloc[-1] < loss.iloc[0]
    assert len([*(checkout.folder / SEGMENTATIONS / "val").glob("*.nii.gz")]) > 1


def test_hello_world_of_innereye_trains_on_the_phantom(checkout: Checkout) -> None:
    folder = checkout.folder / HELLO
    assert {file.name for file in folder.glob("epoch_*")} == {
        "epoch_001.safetensors",
        "epoch_002.safetensors",
    }
    with safetensors.safe_open(checkpoint(folder, 2), "pt") as weights:
        assert "networks.UNet3D" in weights.metadata()["crossfold"]


def test_what_uses_an_edited_file_runs_again(checkout: Checkout, lab: Path) -> None:
    assert "Nothing to be done" in (done := plan(checkout, SEGMENTATIONS)).output + done.errors
    before = edit(lab / "losses.py", "worst.", "worst!")
    jobs = plan(checkout, SEGMENTATIONS).jobs
    assert jobs["train_fold"] == 1
    assert "split_dataset" not in jobs
    (lab / "losses.py").write_text(before, encoding="utf-8")


def test_a_name_that_is_misspelt_stops_before_any_job(checkout: Checkout, lab: Path) -> None:
    before = edit(lab / "config.yaml", "WorstVoxels", "WorstVoxel")
    planned = plan(checkout, SEGMENTATIONS)
    (lab / "config.yaml").write_text(before, encoding="utf-8")
    assert planned.code != 0
    assert "MyPelvis.training.loss.1._target_: cannot import" in planned.errors
    assert "../my_lab/losses.py has no `WorstVoxel`" in planned.errors
    assert "Traceback" not in planned.errors


def test_the_hook_is_called_last(checkout: Checkout, lab: Path) -> None:
    jobs = plan(checkout, HOOK).jobs
    assert jobs["call_hook"] == jobs["write_report"] == 1
    # As if everything had been made.
    results = checkout.folder / "results/MyPelvis"
    (results / "ensemble_metrics.csv").write_text("subject,dice\na,0.5\nb,1.0\n")
    for name in ("metrics_summary.csv", "report.html"):
        (results / name).write_text("")
    before = edit(lab / "hooks.py", "metrics = ", "raise OSError('no mail today')\n    metrics = ")
    alone = ("--allowed-rules", "call_hook", "write_config", "--rerun-triggers", "mtime")
    failed = ask(checkout, HOOK, options=alone)
    assert failed.code != 0
    assert "OSError: no mail today" in failed.errors
    assert (results / "report.html").is_file()
    (lab / "hooks.py").write_text(before, encoding="utf-8")
    done = ask(checkout, HOOK, options=alone)
    assert done.code == 0, done.errors
    said = (checkout.folder / HOOK).read_text(encoding="utf-8")
    assert said == "MyPelvis, 4 epochs: Dice 0.75, 2 subjects\n"


def test_what_is_verified_is_registered_and_deployed(checkout: Checkout, lab: Path) -> None:
    jobs = plan(checkout, DEPLOYED).jobs
    for rule in ("write_bundle", "verify_bundle", "register_model", "deploy_model"):
        assert jobs[rule] == 1
    results = checkout.folder / "results/MyPelvis"
    make_bundle(results / "model", name="MyPelvis")
    alone = ("--allowed-rules", "register_model", "deploy_model", "--rerun-triggers", "mtime")
    refused = ask(checkout, DEPLOYED, options=alone)
    assert refused.code != 0
    assert "model_verified.json" in refused.errors
    verify(results / "model")
    done = ask(checkout, DEPLOYED, options=alone)
    assert done.code == 0, done.errors
    registered = json.loads((results / "registered_model.json").read_text(encoding="utf-8"))
    assert (registered["id"], registered["where"]) == ("MyPelvis:1", "registry/MyPelvis/1")
    assert (checkout.folder / "registry/MyPelvis/1/model/hashes.json").is_file()
    said = (checkout.folder / DEPLOYED).read_text(encoding="utf-8")
    assert said == "served/MyPelvis serves MyPelvis:1, test Dice 0.8500\n"
    assert (checkout.folder / "served/MyPelvis/hashes.json").is_file()
