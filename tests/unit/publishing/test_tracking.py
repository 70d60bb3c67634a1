from __future__ import annotations

from pathlib import Path

import pytest
from repositories import IDENTITY, DataRepository, make_repository

from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.publishing.tracking import track_dataset


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRepository:
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    made = make_repository(tmp_path / "ours")
    made.write_dataset("cohort", 1, 2, 3)
    return made


def test_a_dataset_is_committed_with_nothing_else(repository: DataRepository) -> None:
    (repository.folder / "data/cohort/source.json").write_text("{}")
    (repository.folder / "notes.txt").write_text("mine")
    images = repository.folder / "data/cohort/images"
    times = {file: file.stat().st_mtime_ns for file in [images, *images.rglob("*")]}
    tracked = track_dataset("cohort", repository.folder)
    assert tracked.commit
    assert repository.head == tracked.commit
    assert repository.git("show", "--name-only", "--format=").split() == [
        "data/cohort/dataset.csv",
        "data/cohort/images.dvc",
        "data/cohort/source.json",
    ]
    assert repository.git("status", "--porcelain") == "?? notes.txt"
    with Digests(repository.folder) as digests:
        assert tracked.digest == digests.of("data/cohort/images")
    assert tracked.files == 3
    assert times == {file: file.stat().st_mtime_ns for file in times}


def test_again_without_a_change_commits_nothing(repository: DataRepository) -> None:
    first = track_dataset("cohort", repository.folder)
    head = repository.head
    again = track_dataset("cohort", repository.folder)
    assert (again.commit, again.digest, repository.head) == (None, first.digest, head)


def test_an_edited_image_is_another_version(repository: DataRepository) -> None:
    first = track_dataset("cohort", repository.folder)
    repository.write_dataset("cohort", 1, 2, 4)
    second = track_dataset("cohort", repository.folder)
    assert second.commit
    assert second.digest != first.digest
    assert repository.git("show", "--name-only", "--format=").split() == ["data/cohort/images.dvc"]


def test_a_commit_that_was_interrupted_is_made_the_next_time(
    repository: DataRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr("crossfold.publishing.tracking.commit", killed)
        with pytest.raises(KeyboardInterrupt):
            track_dataset("cohort", repository.folder)
    assert track_dataset("cohort", repository.folder).commit


def test_other_staged_changes_are_left_alone(repository: DataRepository) -> None:
    (repository.folder / "notes.txt").write_text("mine")
    repository.git("add", "notes.txt")
    with pytest.raises(CrossfoldError, match=r"other staged changes: notes\.txt"):
        track_dataset("cohort", repository.folder)
    assert not (repository.folder / "data/cohort/images.dvc").exists()
    assert repository.git("status", "--porcelain", "notes.txt") == "A  notes.txt"


def test_what_is_not_imported_is_refused(repository: DataRepository) -> None:
    with pytest.raises(CrossfoldError, match=r"snakemake --cores all data/other/dataset\.csv"):
        track_dataset("other", repository.folder)
    (repository.folder / "data/cohort/images").rename(repository.folder / "data/cohort/away")
    with pytest.raises(CrossfoldError, match="cohort is not imported"):
        track_dataset("cohort", repository.folder)


def test_a_revision_is_tracked_already(repository: DataRepository) -> None:
    repository.write_dataset("cohort@v1", 1)
    with pytest.raises(CrossfoldError, match="make track DATASET=cohort"):
        track_dataset("cohort@v1", repository.folder)


def test_links_are_refused(repository: DataRepository, tmp_path: Path) -> None:
    (tmp_path / "far.nii.gz").write_bytes(b"far")
    link = repository.folder / "data/cohort/images/far.nii.gz"
    link.symlink_to(tmp_path / "far.nii.gz")
    with pytest.raises(CrossfoldError, match="link: false"):
        track_dataset("cohort", repository.folder)
    assert link.is_symlink()


def test_git_and_dvc_are_needed(tmp_path: Path, repository: DataRepository) -> None:
    bare = DataRepository(tmp_path / "bare")
    bare.write_dataset("cohort", 1)
    with pytest.raises(CrossfoldError, match="not a git repository"):
        track_dataset("cohort", bare.folder)
    bare.git("init", "--quiet")
    bare.commit("Start", "data/cohort/dataset.csv")
    with pytest.raises(CrossfoldError, match="dvc init"):
        track_dataset("cohort", bare.folder)
