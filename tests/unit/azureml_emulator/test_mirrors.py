"""Folders that mirror blobs."""

from __future__ import annotations

import pytest
from azureml_emulator.mirrors import BlobCache, Mirror


@pytest.fixture
def container(azureml):
    """The container of a datastore, which counts what is downloaded from it."""
    container = azureml.workspace.storage.client("workspaceblobstore")
    download = container.download_blob
    container.downloaded = []

    def download_blob(name):
        container.downloaded.append(name)
        return download(name)

    container.download_blob = download_blob
    return container


@pytest.fixture
def mirror(container, tmp_path):
    cache = BlobCache(tmp_path / "cache")

    def mirror(name):
        result = Mirror(tmp_path / name, container, "store/")
        result.pull(cache)
        return result

    return mirror


def test_blobs_are_downloaded_once(azureml, container, mirror, tmp_path):
    azureml.put_blob("store/a/b", b"old")
    azureml.put_blob("store/c", b"c")
    mirror("first")
    mirror("second")
    assert sorted(container.downloaded) == ["store/a/b", "store/c"]
    azureml.put_blob("store/a/b", b"new")
    mirror("third")
    assert container.downloaded[2:] == ["store/a/b"]
    contents = [(tmp_path / name / "a/b").read_bytes() for name in ("first", "second", "third")]
    assert contents == [b"old", b"old", b"new"]


def test_only_changes_are_uploaded(azureml, mirror, tmp_path):
    azureml.put_blob("store/kept", b"kept")
    azureml.put_blob("store/removed", b"removed")
    azureml.put_blob("outside", b"outside")
    job = mirror("job")
    assert job.push() == []
    (tmp_path / "job/removed").unlink()
    (tmp_path / "job/new").write_bytes(b"1")
    assert job.push() == ["new"]
    (tmp_path / "job/new").write_bytes(b"22")
    assert (job.push(), job.push()) == (["new"], [])
    assert azureml.blobs() == {"outside": b"outside", "store/kept": b"kept", "store/new": b"22"}


def test_blobs_of_others_are_left_alone(azureml, mirror):
    job = mirror("job")
    azureml.put_blob("store/by-another", b"x")
    job.push()
    assert list(azureml.blobs()) == ["store/by-another"]


def test_file_changed_in_place_is_no_longer_the_blob(azureml, mirror, tmp_path):
    azureml.put_blob("store/log", b"line\n")
    first = mirror("first")
    with (tmp_path / "first/log").open("ab") as log:
        log.write(b"another\n")
    mirror("second")
    assert (tmp_path / "second/log").read_bytes() == b"line\n"
    assert first.push() == ["log"]
    assert azureml.blobs()["store/log"] == b"line\nanother\n"


def test_links_and_empty_folders_stay_behind(azureml, mirror, tmp_path):
    job = mirror("job")
    (tmp_path / "job/empty").mkdir(parents=True)
    (tmp_path / "job/empty-file").touch()
    (tmp_path / "job/link").symlink_to("empty-file")
    assert job.push() == ["empty-file"]
    assert azureml.blobs() == {"store/empty-file": b""}
