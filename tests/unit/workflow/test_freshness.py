from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crossfold.config.datasets import DecathlonDataset, PhantomDataset
from crossfold.workflow.freshness import notice_edits, source_digest, write_source
from crossfold.workflow.records import TIMESTAMP, modified

RAW = DecathlonDataset(source="decathlon", path="$CROSSFOLD_TEST_DATA/raw")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A directory that Snakemake has made, and not touched since."""
    folder = tmp_path / "data/scans/images"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.nii.gz", "deep/b.nii.gz", TIMESTAMP):
        (folder / name).touch()
    for entry in [*folder.rglob("*"), folder]:
        os.utime(entry, (1e9, 1e9))
    return folder


def test_what_is_unchanged_keeps_its_time(images: Path, tmp_path: Path) -> None:
    notice_edits(tmp_path)
    assert modified(images) == 1e9


@pytest.mark.parametrize(
    "edit",
    [
        lambda images: (images / "deep/b.nii.gz").write_text("corrected"),
        lambda images: (images / "deep/new.nii.gz").touch(),
        lambda images: (images / "a.nii.gz").unlink(),
    ],
    ids=["edited", "added", "removed"],
)
def test_an_edit_inside_a_directory_is_noticed(
    images: Path, tmp_path: Path, edit: Callable[[Path], object]
) -> None:
    edit(images)
    notice_edits(tmp_path)
    assert modified(images) > 1e9


def test_a_link_to_nothing_is_passed_over(images: Path, tmp_path: Path) -> None:
    (images / "lost.nii.gz").symlink_to(tmp_path / "nothing")
    os.utime(images, (1e9, 1e9))
    notice_edits(tmp_path)
    assert modified(images) == 1e9


def test_a_directory_that_snakemake_has_not_made_is_left_alone(
    images: Path, tmp_path: Path
) -> None:
    (images / TIMESTAMP).unlink()
    notice_edits(tmp_path)
    assert not (images / TIMESTAMP).exists()


def test_the_digest_of_a_source_is_that_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSFOLD_TEST_DATA", str(tmp_path))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.nii.gz").write_text("a")
    before = source_digest("scans", RAW, tmp_path)
    assert source_digest("scans", RAW, tmp_path) == before
    (tmp_path / "raw/a.nii.gz").write_text("b")
    assert source_digest("scans", RAW, tmp_path) != before


def test_a_source_that_is_not_here_is_the_one_that_was_imported(tmp_path: Path) -> None:
    assert source_digest("scans", RAW, tmp_path) == ""
    (tmp_path / "data/scans").mkdir(parents=True)
    write_source(tmp_path / "data/scans/source.json", "0123.dir")
    assert source_digest("scans", RAW, tmp_path) == "0123.dir"


def test_a_phantom_has_no_source(tmp_path: Path) -> None:
    assert source_digest("scans", PhantomDataset(source="phantom", subjects=3), tmp_path) == ""
