from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import read_manifest, verify
from crossfold.publishing import publish as publishing
from crossfold.publishing.pull import pull
from tests.publishing.toy import Toy, start, write_results

CHECKPOINT = "results/Toy/folds/0/checkpoints/epoch_001.safetensors"
SEGMENTATION = "results/Toy/folds/1/segmentations/val/b.nii.gz"


def is_published_whole(toy: Toy) -> bool:
    """Whether somebody else gets all of it."""
    number = len(list(toy.folder.parent.glob("clone*")))
    clone = toy.clone(f"clone{number}")
    pulled = pull(root=clone.folder)
    with Digests(clone.folder) as digests:
        verdict = verify(read_manifest("Toy", clone.folder), digests, clone.folder)
    return not pulled.missing and verdict.as_published and "up to date" in clone.dvc("status")


def test_large_files_are_with_dvc_and_small_ones_in_git(toy: Toy) -> None:
    published = toy.publish()
    in_git = set(toy.git("ls-files").splitlines())
    kept = {path: entry.kept for path, entry in published.manifest.files.items()}
    assert kept[CHECKPOINT] == "dvc"
    assert kept["data/toy_data/images/a.nii.gz"] == "dvc"
    assert kept["results/Toy/folds/0/posteriors/val/a.nii.gz"] == "left out"
    assert {path for path in in_git if path.startswith("results/Toy")} == {
        "results/Toy/MANIFEST.json",
        "results/Toy/provenance.json",
        *(path for path, where in kept.items() if where == "git" and path.startswith("results")),
    }
    assert {
        "dvc.yaml",
        "dvc.lock",
        "data/toy_data/images.dvc",
        "data/toy_data/dataset.csv",
    } < in_git
    assert not any(".snakemake_timestamp" in path for path in kept)
    assert is_published_whole(toy)


def test_the_manifest_says_what_made_it(toy: Toy) -> None:
    start = toy.head
    published = toy.publish()
    manifest = read_manifest("Toy", toy.folder)
    assert manifest == published.manifest
    assert (manifest.commit, manifest.dirty) == (start, False)
    assert manifest.configuration["splits"]["folds"] == 2
    assert manifest.seeds == {"splits": 0, "training": 0, "dataset": 7}
    pointer = yaml.safe_load((toy.folder / "data/toy_data/images.dvc").read_text())
    assert manifest.data["images"] == pointer["outs"][0]["md5"]
    assert list(manifest.lock) == ["locks/core.txt"]
    assert manifest.machines["1"] == {"processor": "made up"}
    lock = yaml.safe_load((toy.folder / "dvc.lock").read_text())["stages"]["Toy"]
    for output in lock["outs"]:
        if output["md5"].endswith(".dir"):
            assert manifest.directories[output["path"]] == output["md5"]


def test_dvc_sees_an_edited_key_an_edited_image_and_an_edited_result(toy: Toy) -> None:
    toy.publish()
    assert "up to date" in toy.dvc("status")
    config = toy.folder / "config.yaml"
    config.write_text("# a comment\n" + config.read_text())
    assert "up to date" in toy.dvc("status")
    config.write_text(config.read_text().replace("images: [ct]", "images: [mr]"))
    toy.write("data/toy_data/images/a.nii.gz", b"another")
    toy.write(SEGMENTATION, "altered")
    said = toy.dvc("status")
    assert "models.ToyBase" in said
    assert "data/toy_data/images" in said
    assert "results/Toy/folds/1/segmentations" in said


def test_publishing_again_uploads_and_commits_nothing(toy: Toy) -> None:
    toy.publish()
    objects = sorted(toy.objects.rglob("*"))
    head, manifest = toy.head, (toy.folder / "results/Toy/MANIFEST.json").read_bytes()
    again = toy.publish()
    assert (again.uploaded, again.commit) == (0, None)
    assert (toy.head, sorted(toy.objects.rglob("*"))) == (head, objects)
    assert (toy.folder / "results/Toy/MANIFEST.json").read_bytes() == manifest


def test_what_did_not_change_is_not_uploaded(toy: Toy) -> None:
    toy.publish()
    toy.write("results/Toy/report.html", "<p>another page</p>")
    assert toy.publish().uploaded == 1


def test_two_versions_are_compared_by_dvc(toy: Toy) -> None:
    toy.publish()
    write_results(toy, dice=0.9)
    toy.publish()
    (change,) = json.loads(toy.dvc("metrics", "diff", "HEAD~1", "HEAD", "--json"))[
        "results/Toy/metrics.json"
    ].values()
    assert change == {"old": 0.8, "new": 0.9, "diff": pytest.approx(0.1)}
    plots = json.loads(toy.dvc("plots", "diff", "HEAD~1", "HEAD", "--json"))
    assert {plot["revisions"][0] for plots in plots["data"].values() for plot in plots} or plots


def test_results_that_are_not_up_to_date_are_refused(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = {"train_fold": 2, "write_report": 1, "publish_Toy": 1}
    monkeypatch.setattr(publishing, "planned_jobs", lambda *_, **__: plan)
    with pytest.raises(CrossfoldError, match="not up to date: train_fold would run"):
        toy.publish()
    del plan["train_fold"]  # the report is written by publishing
    toy.publish()


@pytest.mark.parametrize("path", ["config.yaml", "locks/core.txt", "crossfold/new.py"])
def test_uncommitted_changes_are_refused_or_marked(toy: Toy, path: str) -> None:
    file = toy.write(path, (toy.folder / path).read_text() if (toy.folder / path).exists() else "")
    file.write_text(file.read_text() + "# edited\n")
    with pytest.raises(CrossfoldError, match=rf"not committed: {path}"):
        toy.publish()
    assert not (toy.folder / "results/Toy/MANIFEST.json").exists()
    published = toy.publish(allow_uncommitted=True)
    assert published.manifest.uncommitted == (path,)
    assert "uncommitted" in toy.git("log", "-1", "--format=%s")
    assert path not in toy.git("show", "--name-only", "--format=", "HEAD").splitlines()
    toy.git("add", path)
    toy.git("commit", "--quiet", "--message", "Edit")
    assert not toy.publish().manifest.dirty


def test_what_else_is_staged_stays_staged(toy: Toy) -> None:
    toy.write("notes.txt", "mine")
    toy.git("add", "notes.txt")
    toy.publish(allow_uncommitted=True)
    assert toy.git("diff", "--cached", "--name-only") == "notes.txt"


def test_a_file_that_is_no_more_leaves_git(toy: Toy) -> None:
    toy.write("results/Toy/figures/old.csv", "a")
    toy.publish()
    (toy.folder / "results/Toy/figures/old.csv").unlink()
    toy.publish()
    assert "old.csv" not in toy.git("ls-files")


def test_without_a_name_for_the_commit_nothing_is_begun(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(variable, "")
    with pytest.raises(CrossfoldError, match="git var"):
        toy.publish()
    assert not (toy.folder / "results/Toy/MANIFEST.json").exists()


def test_images_of_the_dataset_may_stay_here(toy: Toy) -> None:
    config = json.loads((toy.folder / "results/Toy/config.json").read_text())
    config["publish"]["left_out"] = ["dataset", "checkpoints"]
    toy.write("results/Toy/config.json", json.dumps(config))
    toy.publish()
    assert not list(toy.folder.glob("data/*/images.dvc"))
    clone = toy.clone()
    pull(root=clone.folder)
    assert not (clone.folder / "data/toy_data/images").exists()
    assert not (clone.folder / CHECKPOINT).exists()
    assert (clone.folder / SEGMENTATION).exists()
    with Digests(clone.folder) as digests:
        assert verify(read_manifest("Toy", clone.folder), digests, clone.folder).as_published


def test_a_colleague_publishes_without_what_was_left_out(toy: Toy) -> None:
    manifest = toy.publish().manifest
    clone = toy.clone()
    with pytest.raises(CrossfoldError, match="is published and is not here"):
        clone.publish()
    pull(root=clone.folder)
    assert clone.publish().commit is None
    clone.write("results/Toy/report.html", "<p>another page</p>")
    clone.write("results/Toy/metrics.csv", "another,table")
    again = clone.publish().manifest
    left_out = "results/Toy/folds/0/posteriors/val/a.nii.gz"
    assert again.files[left_out] == manifest.files[left_out]
    assert again.directories == manifest.directories
    assert again.data == manifest.data


@pytest.mark.parametrize(
    "moment",
    [
        "before the report",
        "before the provenance",
        "while files enter the cache",
        "while objects are uploaded",
        "before the commit",
    ],
)
def test_a_killed_publish_shows_nothing_and_is_finished_by_the_next(toy: Toy, moment: str) -> None:
    before = toy.head
    process = start(toy, moment, "publish", "Toy")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -9, said
    assert toy.head == before
    assert not toy.git("ls-files", "results", "data", "dvc.yaml", "demo")
    assert toy.publish().commit == toy.head
    unfinished = [path for path in toy.git("ls-files", "demo").splitlines() if "tmp" in path]
    assert not unfinished
    assert is_published_whole(toy)


def test_a_dvc_lock_that_was_cut_off_is_mended(toy: Toy) -> None:
    toy.publish()
    lock = toy.folder / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(b"schema: '2.0'\nstages:\n  Toy:\n    cmd: [")
    assert toy.publish().commit is None
    assert lock.read_bytes() == whole


def test_a_full_disk_is_said_and_shows_nothing(toy: Toy) -> None:
    before = toy.head
    process = start(toy, "full", "publish", "Toy")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large" in said
    assert "Traceback" not in said
    assert toy.head == before
    toy.publish()
    assert is_published_whole(toy)


def test_of_two_at_once_one_waits(toy: Toy) -> None:
    processes = [start(toy, "slow", "publish", "Toy") for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum("Waiting for process" in text for text in said) == 1
    assert toy.git("log", "--format=%s").splitlines() == ["Publish Toy", "Start"]
    assert is_published_whole(toy)


def test_a_remote_that_does_not_answer_is_said(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    toy.dvc("remote", "add", "--local", "broken", str(tmp_path / "file" / "no_folder"))
    before = toy.head
    with pytest.raises(CrossfoldError, match="not uploaded"):
        toy.publish(remote="broken")
    with pytest.raises(CrossfoldError, match="nowhere"):
        toy.publish(remote="nowhere")
    assert toy.head == before
