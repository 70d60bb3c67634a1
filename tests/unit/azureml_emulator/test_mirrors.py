"""Folders that mirror blobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

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


def test_nodes_that_begin_at_a_time_do_not_disturb_each_other(azureml, mirror, tmp_path):
    for number in range(5):
        azureml.put_blob(f"store/{number}", b"x")
    names = [f"node-{number}" for number in range(16)]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(mirror, names))
    for name in names:
        assert len(list((tmp_path / name).iterdir())) == 5


def test_what_another_job_removes_meanwhile_is_not_there(azureml, container, mirror, tmp_path):
    azureml.put_blob("store/kept", b"kept")
    azureml.put_blob("store/removed", b"removed")
    listed = list(container.list_blobs())
    container.list_blobs = lambda name_starts_with: listed
    container.delete_blob("store/removed")
    job = mirror("job")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["kept"]
    assert job.push() == []


def test_what_a_job_changes_in_place_is_its_own(azureml, mirror, tmp_path):
    azureml.put_blob("store/log", b"line\n")
    first, second = mirror("first"), mirror("second")
    with (tmp_path / "first/log").open("ab") as log:
        log.write(b"another\n")
    mirror("third")
    for other in ("second", "third"):
        assert (tmp_path / other / "log").read_bytes() == b"line\n"
    assert (second.push(), first.push()) == ([], ["log"])
    assert azureml.blobs()["store/log"] == b"line\nanother\n"


def test_links_and_empty_folders_stay_behind(azureml, mirror, tmp_path):
    job = mirror("job")
    (tmp_path / "job/empty").mkdir(parents=True)
    (tmp_path / "job/empty-file").touch()
    (tmp_path / "job/link").symlink_to("empty-file")
    assert job.push() == []  # it is there, but has no content yet
    assert azureml.blobs() == {"store/empty-file": b""}
