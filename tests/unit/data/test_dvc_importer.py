from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import pytest
from repositories import DataRepository, make_repository, name_remote

from crossfold.config.datasets import DvcDataset
from crossfold.data.importers import import_dataset
from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.provenance.pointers import tracked_digest


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataRepository:
    """Two versions of a dataset: tag v1 with two subjects, v2 with three."""
    made = make_repository(tmp_path / "ours")
    monkeypatch.chdir(made.folder)
    for tag, values in (("v1", (1, 2)), ("v2", (1, 5, 3))):
        made.write_dataset("cohort", *values)
        track(made)
        made.git("tag", tag)
    return made


def track(repository: DataRepository) -> None:
    from dvc.repo import Repo

    with Repo(os.fspath(repository.folder)) as dvc:
        dvc.add(["data/cohort/images"])
    repository.commit("Track cohort")


def revision(rev: str | None, path: str = "data/cohort", url: str | None = None) -> DvcDataset:
    return DvcDataset(source="dvc", path=path, rev=rev, url=url)


def values(folder: Path) -> list[float]:
    files = sorted((folder / "images").rglob("*.nii.gz"))
    return [float(nib.load(file).dataobj[0, 0, 0]) for file in files]


def test_a_revision_of_this_repository(repository: DataRepository) -> None:
    target = repository.folder / "data/cohort@v1"
    table = import_dataset("cohort@v1", revision("v1"), target)
    assert list(table["subject"]) == ["case_0", "case_1"]
    assert all((target / path).is_file() for path in table["filePath"])
    assert values(target) == [1, 2]
    assert values(repository.folder / "data/cohort") == [1, 5, 3]
    assert (target / "dataset.csv").read_text() == repository.git(
        "show", "v1:data/cohort/dataset.csv"
    ) + "\n"
    assert sorted(path.name for path in target.iterdir()) == ["dataset.csv", "images"]
    assert repository.git("status", "--porcelain") == ""


def test_the_digest_is_known_before_and_the_same_after(repository: DataRepository) -> None:
    announced = tracked_digest("cohort@v1", revision("v1"))
    import_dataset("cohort@v1", revision("v1"), repository.folder / "data/cohort@v1")
    with Digests(repository.folder) as digests:
        assert digests.of("data/cohort@v1/images") == announced
    assert announced != tracked_digest("cohort@v2", revision("v2"))


def test_from_remote_storage_that_has_moved_since(repository: DataRepository) -> None:
    repository.push()
    repository.forget_cache()
    moved = repository.storage.rename(repository.folder.with_name("moved"))
    name_remote(repository, moved)
    import_dataset("cohort@v1", revision("v1"), repository.folder / "data/cohort@v1")
    assert values(repository.folder / "data/cohort@v1") == [1, 2]


@pytest.mark.parametrize("rev", ["v1", None])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_another_repository(
    repository: DataRepository, tmp_path: Path, scheme: str, rev: str | None
) -> None:
    repository.push()
    mine = make_repository(tmp_path / "mine")
    os.chdir(mine.folder)
    config = revision(rev, url=f"{scheme}{repository.folder}")
    import_dataset("theirs", config, mine.folder / "data/theirs")
    assert values(mine.folder / "data/theirs") == ([1, 2] if rev else [1, 5, 3])
    assert bool(tracked_digest("theirs", config)) == (not scheme)


def test_variables_in_the_address(
    repository: DataRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REGISTRY", os.fspath(tmp_path))
    assert tracked_digest("theirs", revision("v1", url="$REGISTRY/ours"))
    monkeypatch.delenv("REGISTRY")
    with pytest.raises(CrossfoldError, match=r"datasets\.theirs\.url .* REGISTRY is not set"):
        tracked_digest("theirs", revision("v1", url="$REGISTRY/ours"))


def test_unknown_revision(repository: DataRepository) -> None:
    expected = r"(?s)cohort, rev: v3\}: `v3` is no branch, tag or commit of this.*`v1`, `v2`"
    with pytest.raises(CrossfoldError, match=expected):
        tracked_digest("cohort@v3", revision("v3"))
    config = revision("v3", url=f"file://{repository.folder}")
    with pytest.raises(CrossfoldError, match=r"datasets\.theirs\.rev: `v3` is no branch"):
        import_dataset("theirs", config, repository.folder / "data/theirs")


def test_untracked_dataset(repository: DataRepository) -> None:
    with pytest.raises(CrossfoldError, match=r"(?s)no data/other/images at v1.*DATASET=other"):
        tracked_digest("other@v1", revision("v1", path="data/other"))
    config = revision("v1", path="data/other", url=f"file://{repository.folder}")
    with pytest.raises(CrossfoldError, match=r"theirs\.path: DVC tracks no data/other/images"):
        import_dataset("theirs", config, repository.folder / "data/theirs")


def test_images_in_git_are_not_under_dvc(repository: DataRepository) -> None:
    (repository.folder / "data/plain/images").mkdir(parents=True)
    (repository.folder / "data/plain/images/a.txt").write_text("a")
    repository.git("add", "--force", "data/plain")
    repository.git("commit", "--quiet", "--message", "Images in git")
    config = revision("HEAD", path="data/plain", url=f"file://{repository.folder}")
    with pytest.raises(CrossfoldError, match="DVC tracks no data/plain/images"):
        import_dataset("theirs", config, repository.folder / "data/theirs")


def test_an_address_that_nobody_answers_keeps_its_password(
    repository: DataRepository, tmp_path: Path
) -> None:
    config = revision("v1", url="https://me:secret@127.0.0.1:9/data.git")
    with pytest.raises(CrossfoldError, match=r"theirs\.url: cannot clone https://127") as caught:
        import_dataset("theirs", config, repository.folder / "data/theirs")
    assert "secret" not in str(caught.value)
    with pytest.raises(CrossfoldError, match="is no git repository"):
        tracked_digest("theirs", revision("v1", url=os.fspath(tmp_path)))


@pytest.mark.parametrize("what", ["*.dir", "*"])
def test_lost_images_are_an_error(repository: DataRepository, what: str) -> None:
    for file in (repository.folder / ".dvc/cache").rglob(what):
        if file.is_file() and (what == "*.dir" or file.suffix != ".dir"):
            file.unlink()
    target = repository.folder / "data/cohort@v1"
    with pytest.raises(CrossfoldError, match="neither in DVC's cache nor in remote storage"):
        import_dataset("cohort@v1", revision("v1"), target)
    assert not [path for path in target.iterdir() if path.name != "dataset.csv"]


def test_a_dataset_of_which_the_folder_is_tracked(repository: DataRepository) -> None:
    repository.git("rm", "-r", "--quiet", "data")
    shutil.rmtree(repository.folder / "data")
    repository.write_dataset("cohort", 7)
    from dvc.repo import Repo

    with Repo(os.fspath(repository.folder)) as dvc:
        dvc.add(["data/cohort"])
    repository.commit("Track the folder")
    import_dataset("cohort@HEAD", revision("HEAD"), repository.folder / "data/cohort@HEAD")
    assert values(repository.folder / "data/cohort@HEAD") == [7]
