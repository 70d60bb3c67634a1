from __future__ import annotations

from pathlib import Path

import pytest

from tests.publishing.toy import Toy, make_toy, without_snakemake
from tests.repositories import IDENTITY


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """A finished model that is not published."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    without_snakemake(monkeypatch.setattr)
    return make_toy(tmp_path / "toy")
