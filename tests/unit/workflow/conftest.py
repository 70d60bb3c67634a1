from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossfold.errors import CrossfoldError


@pytest.fixture
def mendable() -> CrossfoldError:
    return CrossfoldError("config.yaml: splits.folds: is 0", remedy="raise it")


@pytest.fixture
def snakemake(tmp_path: Path) -> Iterator[SimpleNamespace]:
    level = logging.root.level
    yield SimpleNamespace(
        log=[str(tmp_path / "logs" / "train_fold" / "M_0.log")],
        rule="train_fold",
        wildcards={"model": "M", "fold": "0"},
    )
    logging.captureWarnings(False)
    logging.root.setLevel(level)
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()
