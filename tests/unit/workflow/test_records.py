from __future__ import annotations

import os
from pathlib import Path

import pytest
from snakemake.persistence import RECORD_FORMAT_VERSION, MetadataRecord
from snakemake.persistence.file import FilePersistence

from crossfold.errors import CrossfoldError
from crossfold.workflow import records

PATHS = ("results/Tiny/splits.csv", "results/Tiny/" + "very_long/" * 60 + "ü.csv")
RECORD = {
    "rule": "split_dataset",
    "input": ["data/tiny/dataset.csv"],
    "log": ["logs/split_dataset/Tiny.log"],
    "params": ["{'seed': 0}"],
    "starttime": 1.5,
    "endtime": 2.5,
    "input_checksums": {},
}


@pytest.fixture
def snakemake(tmp_path: Path) -> FilePersistence:
    """The part of Snakemake that reads and writes records, in an empty folder."""
    return FilePersistence(path=tmp_path / ".snakemake")


def test_the_form_of_records_is_that_of_snakemake() -> None:
    assert records.FORMAT == RECORD_FORMAT_VERSION


@pytest.mark.parametrize("path", PATHS)
def test_snakemake_reads_what_is_written(
    tmp_path: Path, snakemake: FilePersistence, path: str
) -> None:
    records.write_record(tmp_path, path, RECORD)
    read = snakemake._read_record(path)
    assert read is not None
    assert {name: read[name] for name in RECORD} == RECORD


@pytest.mark.parametrize("path", PATHS)
def test_what_snakemake_writes_is_read(
    tmp_path: Path, snakemake: FilePersistence, path: str
) -> None:
    snakemake._write_record(path, MetadataRecord(**RECORD, record_format_version=records.FORMAT))
    ((found, record),) = records.read_records(tmp_path)
    assert found == path
    assert record == records.read_record(tmp_path, path)
    assert {name: record[name] for name in RECORD} == RECORD
    records.forget_record(tmp_path, path)
    assert list(records.read_records(tmp_path)) == []


def test_a_record_that_was_not_written_to_its_end_is_none(tmp_path: Path) -> None:
    records.write_record(tmp_path, PATHS[0], RECORD)
    (file,) = (tmp_path / ".snakemake/metadata").iterdir()
    file.write_text(file.read_text()[:20])
    assert records.read_record(tmp_path, PATHS[0]) is None
    assert list(records.read_records(tmp_path)) == []


def test_a_record_of_another_version_is_refused(tmp_path: Path) -> None:
    records.write_record(tmp_path, PATHS[0], RECORD | {"record_format_version": 5})
    with pytest.raises(CrossfoldError, match="version 5"):
        list(records.read_records(tmp_path))


def test_records_are_left_alone_while_snakemake_runs(tmp_path: Path) -> None:
    records.refuse_while_running(tmp_path)
    (tmp_path / ".snakemake/locks").mkdir(parents=True)
    (tmp_path / ".snakemake/locks/0.output.lock").touch()
    with pytest.raises(CrossfoldError, match="--unlock"):
        records.refuse_while_running(tmp_path)


def test_a_directory_was_modified_when_its_timestamp_says(tmp_path: Path) -> None:
    assert not records.has_timestamp(tmp_path)
    os.utime(tmp_path, (5, 5))
    assert records.modified(tmp_path) == 5
    records.ensure_timestamp(tmp_path)
    os.utime(tmp_path / records.TIMESTAMP, (7, 7))
    assert records.modified(tmp_path) == 7
    records.raise_timestamp(tmp_path, 6)
    assert records.modified(tmp_path) == 7
    records.raise_timestamp(tmp_path, 8)
    assert records.modified(tmp_path) == 8
