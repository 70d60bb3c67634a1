from __future__ import annotations

from pathlib import Path

from snakemake_executor_plugin_azureml.records import Record, Records


def make_record(records: Records, fingerprint: str, submission: int) -> Record:
    digest = records.digest(fingerprint)
    return Record(
        name=f"fit-{digest}-{submission}",
        fingerprint=fingerprint,
        submission=submission,
        batch="batch",
        experiment="main",
    )


def test_submissions_of_the_same_work_are_found_in_order(tmp_path: Path) -> None:
    records = Records(tmp_path)
    saved = [make_record(records, "a" * 64, number) for number in (10, 2, 1)]
    for record in (*saved, make_record(records, "b" * 64, 1)):
        records.save(record)
    assert Records(tmp_path).of("a" * 64) == saved[::-1]
    records.close(saved[0], "Completed")
    assert [record.outcome for record in Records(tmp_path).of("a" * 64)] == ["", "", "Completed"]


def test_another_working_directory_names_the_same_work_differently(tmp_path: Path) -> None:
    here, there = Records(tmp_path / "here"), Records(tmp_path / "there")
    assert here.digest("a" * 64) != there.digest("a" * 64)
    assert here.digest("a" * 64) == Records(tmp_path / "here").digest("a" * 64)


def test_a_damaged_record_is_as_good_as_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.save(make_record(records, "a" * 64, 1))
    (path,) = (tmp_path / "jobs").iterdir()
    path.write_text(path.read_text()[:20])
    assert records.of("a" * 64) == []
    path.write_text('{"name": "from a later version", "more": 1}')
    assert records.of("a" * 64) == []
