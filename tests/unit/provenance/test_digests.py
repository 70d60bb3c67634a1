from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from dvc_data.hashfile import hash as dvc_hash

from crossfold.provenance.digests import Digests

DVCIGNORE = Path(__file__).parents[3] / ".dvcignore"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a directory of files."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site_cache"))
    checkout = tmp_path / "checkout"
    images = checkout / "images"
    (images / "deep" / "er").mkdir(parents=True)
    shutil.copy2(DVCIGNORE, checkout)
    for name in ("a.nii.gz", "ü b.txt", "deep/a", "deep/er/z"):
        (images / name).write_bytes(name.encode() * 1000)
    (images / "empty").write_bytes(b"")
    (images / ".snakemake_timestamp").touch()
    return checkout


@pytest.fixture(params=["dvc", "plain"])
def checkout(folder: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == "dvc":
        Repo.init(str(folder), no_scm=True).close()
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files whose content was read."""
    paths: list[str] = []
    read = dvc_hash.file_md5

    def counted(fname: str, *arguments: object, **options: object) -> str:
        # DVC hashes the listing of a directory as a file in memory.
        if not fname.startswith("memory:"):
            paths.append(fname)
        return read(fname, *arguments, **options)

    monkeypatch.setattr(dvc_hash, "file_md5", counted)
    return paths


def test_digests_are_those_of_dvc_add(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with Digests() as digests:
        plain = {name: digests.of(name) for name in ("images", "images/a.nii.gz")}
    with Repo.init(no_scm=True) as repository:
        with Digests() as digests:
            assert {name: digests.of(name) for name in plain} == plain
        repository.add(["images"])
        shutil.copy2("images/a.nii.gz", "single")
        repository.add(["single"])
    for name, file in (("images", "images"), ("images/a.nii.gz", "single")):
        pointer = yaml.safe_load(Path(f"{file}.dvc").read_text(encoding="utf-8"))
        assert pointer["outs"][0]["md5"] == plain[name]


def test_a_tree_names_every_file_but_the_notes_of_snakemake(checkout: Path) -> None:
    with Digests(checkout) as digests:
        tree = digests.tree("images")
        assert list(tree) == ["a.nii.gz", "deep/a", "deep/er/z", "empty", "ü b.txt"]
        assert tree == {name: digests.of(checkout / "images" / name) for name in tree}


def test_what_is_unchanged_is_read_once(checkout: Path, reads: list[str]) -> None:
    for _ in range(2):
        with Digests(checkout) as digests:
            before = digests.of("images")
    assert len(reads) == 5
    (checkout / "images" / "a.nii.gz").write_bytes(b"changed")
    with Digests(checkout) as digests:
        assert digests.of("images") != before
    assert [Path(path).name for path in reads[5:]] == ["a.nii.gz"]


def test_dvc_and_we_read_a_file_once_between_us(folder: Path, reads: list[str]) -> None:
    with Repo.init(str(folder), no_scm=True) as repository:
        with Digests(folder) as digests:
            digests.of("images")
        reads.clear()
        repository.add([str(folder / "images")])
        assert repository.status() == {}
    assert reads == []


def test_a_change_that_keeps_the_size_and_is_older_is_noticed(checkout: Path) -> None:
    file = checkout / "images" / "a.nii.gz"
    with Digests(checkout) as digests:
        before = digests.of(file)
        file.write_bytes(file.read_bytes().replace(b"a", b"b"))
        os.utime(file, (1e9, 1e9))
        assert digests.of(file) != before


def test_setting_the_time_keeps_digests_and_what_is_remembered(
    checkout: Path, reads: list[str]
) -> None:
    images = checkout / "images"
    with Digests(checkout) as digests:
        before = digests.of("images")
        digests.set_time("images", 1.5e9)
        digests.set_time(".dvcignore", 1.4e9)
    reads.clear()
    with Digests(checkout) as digests:
        assert digests.of("images") == before
        digests.of(".dvcignore")
    assert reads == []
    assert {entry.stat().st_mtime for entry in [images, *images.rglob("*")]} == {1.5e9}


def test_the_time_of_what_a_link_points_to_is_left_alone(checkout: Path) -> None:
    source = checkout / "source"
    source.write_text("an image")
    os.utime(source, (1e9, 1e9))
    (checkout / "images" / "linked").symlink_to(source)
    with Digests(checkout) as digests:
        assert digests.tree("images")["linked"] == digests.of(source)
        digests.set_time("images", 1.5e9)
    assert source.stat().st_mtime == 1e9


def test_what_is_missing_or_no_directory_is_an_error(checkout: Path) -> None:
    with Digests(checkout) as digests:
        with pytest.raises(FileNotFoundError):
            digests.of("nothing")
        with pytest.raises(FileNotFoundError):
            digests.tree("nothing")
        with pytest.raises(NotADirectoryError):
            digests.tree("images/a.nii.gz")
