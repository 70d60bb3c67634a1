from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import read_manifest, verify
from crossfold.publishing.pull import pull
from tests.publishing.toy import Toy, start, write_results

CHECKPOINT = "results/Toy/folds/0/checkpoints/epoch_001.safetensors"
SEGMENTATION = "results/Toy/folds/1/segmentations/val/b.nii.gz"
BESIDE = "results/Toy/folds/1/segmentations/val/a.nii.gz"
REPORT = "results/Toy/report.html"


@pytest.fixture
def clone(toy: Toy) -> Toy:
    """A fresh clone of a repository with a published model; nothing is pulled."""
    toy.publish()
    return toy.clone()


def as_published(toy: Toy) -> bool:
    with Digests(toy.folder) as digests:
        return verify(read_manifest("Toy", toy.folder), digests, toy.folder).as_published


def test_a_clone_has_everything_after_a_pull(clone: Toy) -> None:
    assert not (clone.folder / CHECKPOINT).exists()
    assert pull(root=clone.folder).downloaded > 0
    assert as_published(clone)
    assert "up to date" in clone.dvc("status")
    assert not clone.git("status", "--porcelain")
    assert pull(root=clone.folder).downloaded == 0


def test_one_model_is_pulled_without_the_others(clone: Toy) -> None:
    pull(["Toy"], root=clone.folder)
    assert as_published(clone)
    with pytest.raises(CrossfoldError, match="Other is not published"):
        pull(["Other"], root=clone.folder)


@pytest.mark.parametrize("path", [CHECKPOINT, SEGMENTATION, REPORT])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_bad_object_is_named_and_the_rest_is_pulled(clone: Toy, path: str, damage: str) -> None:
    bad = clone.object_of(path)
    content = bad.read_bytes()
    bad.unlink()
    if damage == "damaged":
        bad.write_bytes(content[:-1] + b"?")
    pulled = pull(root=clone.folder)
    (missing,) = pulled.missing
    assert missing.path == path
    assert f"is {damage} in the remote" in str(missing)
    assert missing.digest in bad.as_posix().replace("/", "")
    here = {BESIDE, CHECKPOINT, SEGMENTATION, REPORT, "data/toy_data/images/a.nii.gz"} - {path}
    assert all((clone.folder / other).is_file() for other in here)
    assert not (clone.folder / path).exists()

    bad.unlink(missing_ok=True)
    bad.write_bytes(content)
    assert not pull(root=clone.folder).missing
    assert as_published(clone)
    assert "up to date" in clone.dvc("status")


@pytest.mark.parametrize("damage", [None, b"[", b"[]"])
def test_a_lost_list_of_files_costs_nothing(clone: Toy, damage: bytes | None) -> None:
    for lists in clone.objects.rglob("*.dir"):
        lists.unlink()
        if damage is not None:
            lists.write_bytes(damage)
    assert not pull(root=clone.folder).missing
    assert as_published(clone)


@pytest.mark.parametrize("moment", ["while objects are downloaded", "while files are put in place"])
def test_a_killed_pull_is_finished_by_the_next(clone: Toy, moment: str) -> None:
    process = start(clone, moment, "pull")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -9, said
    with Digests(clone.folder) as digests:
        verdict = verify(read_manifest("Toy", clone.folder), digests, clone.folder)
    assert {one.kind for one in verdict.differences} == {"missing"}
    pull(root=clone.folder)
    assert as_published(clone)
    assert not list(clone.folder.rglob("results/**/*.tmp"))


def test_a_full_disk_is_said(clone: Toy) -> None:
    process = start(clone, "full", "pull")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    assert "File too large" in said or CHECKPOINT in said
    assert not (clone.folder / CHECKPOINT).exists()
    assert not pull(root=clone.folder).missing
    assert as_published(clone)


def test_results_that_were_made_here_are_not_overwritten(clone: Toy) -> None:
    pull(root=clone.folder)
    clone.write(SEGMENTATION, "made here")
    with pytest.raises(CrossfoldError, match="made here would be lost"):
        pull(root=clone.folder)
    assert (clone.folder / SEGMENTATION).read_text() == "made here"
    pull(root=clone.folder, force=True)
    assert as_published(clone)


def test_an_earlier_version_is_pulled_after_a_checkout(toy: Toy) -> None:
    toy.publish()
    write_results(toy, dice=0.9)
    toy.publish()
    clone = toy.clone()
    pull(root=clone.folder)
    clone.git("checkout", "--quiet", "HEAD~1")
    pull(root=clone.folder)
    assert as_published(clone)
    assert "0.8" in (clone.folder / SEGMENTATION).read_text()


def test_without_its_remote_nothing_is_lost(clone: Toy) -> None:
    shutil.rmtree(clone.folder / "demo")
    pulled = pull(root=clone.folder)
    assert {CHECKPOINT, SEGMENTATION, REPORT} < {missing.path for missing in pulled.missing}
    clone.git("checkout", "--", "demo")
    assert not pull(root=clone.folder).missing


def test_a_published_checkout_without_its_cache_pulls_it_again(toy: Toy, tmp_path: Path) -> None:
    toy.publish()
    shutil.rmtree(toy.folder / ".dvc" / "cache")
    (toy.folder / CHECKPOINT).unlink()
    pull(root=toy.folder)
    assert as_published(toy)
