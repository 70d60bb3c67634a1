from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def processor_settings() -> Iterator[None]:
    """Give back the subnormal numbers that training does without: hypothesis draws them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Folder of a dataset of real images: below $CROSSFOLD_DATA, or ../shared/data."""

    def find(name: str) -> Path:
        root = Path(os.environ.get("CROSSFOLD_DATA") or REPOSITORY.parent / "shared" / "data")
        if not (root / name).is_dir():
            pytest.skip(f"no {root / name}; set CROSSFOLD_DATA to the folder that holds {name}")
        return root / name

    return find
