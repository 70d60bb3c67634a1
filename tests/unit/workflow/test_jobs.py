from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossfold import workflow
from crossfold.errors import CrossfoldError


def log_of(snakemake: SimpleNamespace) -> str:
    return Path(snakemake.log[0]).read_text(encoding="utf-8")


def test_a_job_writes_its_log(snakemake: SimpleNamespace) -> None:
    with workflow.job(snakemake):
        logging.getLogger("crossfold.learning").info("fold %d continues", 0)
    assert "INFO fold 0 continues" in log_of(snakemake)
    assert "Python" in log_of(snakemake)


def test_an_error_that_can_be_mended_has_no_traceback(
    snakemake: SimpleNamespace, mendable: CrossfoldError
) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise mendable
    assert f"ERROR in train_fold of model M, fold 0: {mendable}" in log_of(snakemake)
    assert "Traceback" not in log_of(snakemake)


def test_any_other_error_has_its_traceback_in_the_log(snakemake: SimpleNamespace) -> None:
    with pytest.raises(SystemExit), workflow.job(snakemake):
        raise KeyError("voxels")
    traceback, _, message = log_of(snakemake).rpartition(" ERROR ")
    assert "Traceback (most recent call last)" in traceback
    assert "test_jobs.py" in traceback
    assert message == (
        f"in train_fold of model M, fold 0: KeyError: 'voxels'\n  Traceback: {snakemake.log[0]}\n"
    )
