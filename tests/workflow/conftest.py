from __future__ import annotations

import pytest

from tests.workflow.checkout import Checkout, copy_checkout


@pytest.fixture(scope="session")
def real_data_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the folders of all datasets exist, empty; for dry runs."""
    data = tmp_path_factory.mktemp("data")
    for name in ("prostate", "hippocampus"):
        (data / name).mkdir()
    folder = tmp_path_factory.mktemp("dry") / "checkout"
    return copy_checkout(folder, CROSSFOLD_DATA=str(data))
