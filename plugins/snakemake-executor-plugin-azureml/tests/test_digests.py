import hashlib
import os
from pathlib import Path

import pytest
from snakemake_executor_plugin_azureml import digests
from snakemake_executor_plugin_azureml.digests import DigestCache
from snakemake_interface_common.exceptions import WorkflowError

LONG_AGO = (1_600_000_000, 1_600_000_000)


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii"
    path.write_bytes(b"voxels")
    os.utime(path, LONG_AGO)
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose content was read."""
    paths: list[Path] = []
    sha256 = digests.sha256

    def reading(path: Path) -> str:
        paths.append(path)
        return sha256(path)

    monkeypatch.setattr(digests, "sha256", reading)
    return paths


def test_a_file_is_read_once_across_runs(tmp_path: Path, settled: Path, read: list[Path]) -> None:
    for _ in range(2):
        [file] = DigestCache(tmp_path / "cache" / "digests.json").hash([settled])
        assert file.digest == hashlib.sha256(b"voxels").hexdigest()
    assert read == [settled]


@pytest.mark.parametrize("change", ["content", "time", "replacement"])
def test_a_changed_file_is_read_again(
    tmp_path: Path, settled: Path, read: list[Path], change: str
) -> None:
    cache = DigestCache(tmp_path / "digests.json")
    cache.hash([settled])
    if change == "content":
        settled.write_bytes(b"more voxels")
        os.utime(settled, LONG_AGO)
    elif change == "time":
        os.utime(settled, (LONG_AGO[0] + 1, LONG_AGO[1] + 1))
    else:
        (tmp_path / "other").write_bytes(b"VOXELS")
        os.utime(tmp_path / "other", LONG_AGO)
        os.replace(tmp_path / "other", settled)
    [file] = cache.hash([settled])
    assert file.digest == hashlib.sha256(settled.read_bytes()).hexdigest()
    assert read == [settled, settled]


def test_a_file_just_written_is_not_trusted(tmp_path: Path, read: list[Path]) -> None:
    path = tmp_path / "young"
    path.write_bytes(b"first")
    cache = DigestCache(tmp_path / "digests.json")
    cache.hash([path])
    cache.hash([path])
    assert read == [path, path]


def test_what_was_received_is_not_read(tmp_path: Path, settled: Path, read: list[Path]) -> None:
    cache = DigestCache(tmp_path / "digests.json")
    cache.remember(settled, "ab" * 32)
    [file] = cache.hash([settled])
    assert file.digest == "ab" * 32
    assert read == []


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_cache_costs_time_only(tmp_path: Path, settled: Path, content: str) -> None:
    (tmp_path / "digests.json").write_text(content)
    [file] = DigestCache(tmp_path / "digests.json").hash([settled])
    assert file.digest == hashlib.sha256(b"voxels").hexdigest()


def test_files_that_are_gone_are_forgotten(tmp_path: Path, settled: Path) -> None:
    cache = DigestCache(tmp_path / "digests.json")
    cache.hash([settled])
    other = tmp_path / "other"
    settled.rename(other)
    cache.hash([other])
    assert str(settled) not in (tmp_path / "digests.json").read_text()


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_meanwhile(path: Path) -> str:
        path.write_bytes(b"other voxels")
        return "ab" * 32

    monkeypatch.setattr(digests, "sha256", written_meanwhile)
    with pytest.raises(WorkflowError, match="changed while"):
        DigestCache(tmp_path / "digests.json").hash([settled])
