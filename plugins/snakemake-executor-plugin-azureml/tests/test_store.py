import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient, ContainerClient
from snakemake_executor_plugin_azureml.digests import HashedFile, Signature
from snakemake_executor_plugin_azureml.runner import blob_path
from snakemake_executor_plugin_azureml.store import LIST_ABOVE, Store, Transfer
from snakemake_interface_common.exceptions import WorkflowError


def hashed(path: Path) -> HashedFile:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return HashedFile(path, digest, Signature.of(path))


def make_files(folder: Path, count: int) -> list[HashedFile]:
    files = []
    for number in range(count):
        path = folder / f"{number}.bin"
        path.write_bytes(f"content {number}".encode())
        files.append(hashed(path))
    return files


def test_many_files_are_sent_once_and_then_listed_once(
    tmp_path: Path, connect: Callable[[], ContainerClient], requests_made: list[str]
) -> None:
    files = make_files(tmp_path, LIST_ABOVE + 10)
    size = sum(file.size for file in files)
    assert Store(connect(), "smk").upload(files) == Transfer(len(files), size, 0)
    requests_made.clear()
    store = Store(connect(), "smk")
    assert store.upload(files) == Transfer(0, 0, len(files))
    assert len(requests_made) == 1, requests_made
    assert store.upload(files) == Transfer(0, 0, len(files))
    assert len(requests_made) == 1, "what the store has is remembered"


def test_few_files_are_asked_for_without_a_listing(
    tmp_path: Path, connect: Callable[[], ContainerClient], requests_made: list[str]
) -> None:
    [file] = make_files(tmp_path, 1)
    Store(connect(), "smk").upload([file])
    requests_made.clear()
    assert Store(connect(), "smk").upload([file]).present == 1
    assert [request.partition(" ")[0] for request in requests_made] == ["HEAD"]


def test_what_arrived_after_the_listing_is_not_sent_again(
    tmp_path: Path, connect: Callable[[], ContainerClient]
) -> None:
    files = make_files(tmp_path, LIST_ABOVE + 2)
    store = Store(connect(), "smk")
    store.upload(files[:-1])
    Store(connect(), "smk").upload(files[-1:])
    assert store.upload(files) == Transfer(0, 0, len(files))


def test_the_same_content_is_sent_once(tmp_path: Path, container: ContainerClient) -> None:
    files = make_files(tmp_path, 1)
    copy = tmp_path / "copy.bin"
    copy.write_bytes(files[0].path.read_bytes())
    assert Store(container, "smk").upload([*files, hashed(copy)]).files == 1


@pytest.mark.parametrize("count", [1, LIST_ABOVE + 1])
def test_a_blob_that_was_cut_short_is_replaced(
    tmp_path: Path, connect: Callable[[], ContainerClient], count: int
) -> None:
    files = make_files(tmp_path, count)
    Store(connect(), "smk").upload(files)
    connect().upload_blob(f"smk/{blob_path(files[0].digest)}", b"con", overwrite=True)
    # What a runner was writing when its node was taken away is no blob.
    connect().upload_blob(f"smk/{blob_path(files[0].digest)}.0f.part", b"content 0")
    store = Store(connect(), "smk")
    assert store.upload(files).files == 1
    store.download(files[0].digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"content 0"


@pytest.fixture
def large(tmp_path: Path) -> HashedFile:
    """Ten and a half blocks of 1 000 bytes."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(10_500))
    return hashed(path)


def test_a_large_file_travels_in_blocks(
    tmp_path: Path, large: HashedFile, container: ContainerClient, requests_made: list[str]
) -> None:
    store = Store(container, "smk", block_bytes=1000)
    assert store.upload([large]) == Transfer(1, 10_500, 0)
    assert sum("comp=block&" in f"{request}&" for request in requests_made) == 11
    store.download(large.digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.path.read_bytes()


@pytest.fixture
def dies_after_four_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    stage_block, sent = BlobClient.stage_block, []

    def stage_or_die(blob: BlobClient, name: str, *arguments: object, **options: object) -> object:
        if len(sent) == 4:
            raise KeyboardInterrupt
        sent.append(name)
        return stage_block(blob, name, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(BlobClient, "stage_block", stage_or_die)
        yield patch


def test_a_killed_upload_goes_on_with_the_blocks_that_arrived(
    tmp_path: Path,
    large: HashedFile,
    connect: Callable[[], ContainerClient],
    dies_after_four_blocks: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Store(connect(), "smk", block_bytes=1000, workers=1).upload([large])
    dies_after_four_blocks.undo()
    assert not list(connect().list_blobs()), "nothing is there before all of it is"
    store = Store(connect(), "smk", block_bytes=1000)
    assert store.upload([large]) == Transfer(1, 6_500, 0)
    store.download(large.digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.path.read_bytes()


def test_blocks_of_another_size_are_not_mixed(
    tmp_path: Path,
    large: HashedFile,
    connect: Callable[[], ContainerClient],
    dies_after_four_blocks: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Store(connect(), "smk", block_bytes=1000, workers=1).upload([large])
    dies_after_four_blocks.undo()
    store = Store(connect(), "smk", block_bytes=2000)
    assert store.upload([large]) == Transfer(1, 10_500, 0)
    store.download(large.digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.path.read_bytes()


@pytest.mark.parametrize("block_bytes", [1000, 100_000])
def test_a_file_that_changes_is_not_kept(
    large: HashedFile, container: ContainerClient, block_bytes: int
) -> None:
    large.path.write_bytes(os.urandom(10_500))
    with pytest.raises(WorkflowError, match=r"large\.bin changed"):
        Store(container, "smk", block_bytes=block_bytes).upload([large])
    assert not list(container.list_blobs())


def test_an_empty_file_is_sent(tmp_path: Path, container: ContainerClient) -> None:
    (tmp_path / "empty").touch()
    store, file = Store(container, ""), hashed(tmp_path / "empty")
    assert store.upload([file]) == Transfer(1, 0, 0)
    store.download(file.digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_damaged_blob_is_refused(tmp_path: Path, container: ContainerClient) -> None:
    [file] = make_files(tmp_path, 1)
    store = Store(container, "smk")
    store.upload([file])
    container.upload_blob(f"smk/{blob_path(file.digest)}", b"CONTENT 0", overwrite=True)
    with pytest.raises(WorkflowError, match="damaged in the store: delete smk/blobs/"):
        store.download(file.digest, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_blob_that_is_gone_is_named(tmp_path: Path, container: ContainerClient) -> None:
    with pytest.raises(WorkflowError, match=r"back is no longer in the store \(smk/blobs/ab/ab"):
        Store(container, "smk").download("ab" * 32, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_small_file_has_a_name_of_its_own(container: ContainerClient) -> None:
    store = Store(container, "/smk/lab/")
    assert store.read("jobs/train/result.json") is None
    store.write("jobs/train/result.json", b"{}")
    assert store.read("jobs/train/result.json") == b"{}"
    assert [*container.list_blob_names()] == ["smk/lab/jobs/train/result.json"]
