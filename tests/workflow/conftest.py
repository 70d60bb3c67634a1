from __future__ import annotations

import shutil

import pytest

from tests.workflow.checkout import METRICS, SEARCH, TINY, Checkout, copy_checkout


@pytest.fixture(scope="session")
def real_data_checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the folders of all datasets exist, empty; for dry runs."""
    data = tmp_path_factory.mktemp("data")
    for name in ("prostate", "hippocampus"):
        (data / name).mkdir()
    folder = tmp_path_factory.mktemp("dry") / "checkout"
    return copy_checkout(folder, CROSSFOLD_DATA=str(data))


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What one machine gives, a training and a search: clusters are compared with it."""
    checkout = copy_checkout(tmp_path_factory.mktemp("local") / "checkout")
    shutil.copy2(TINY, checkout.folder)
    done = checkout.snakemake("--configfile", "tiny.yaml", "--", METRICS, SEARCH)
    assert done.code == 0, done.errors
    return checkout
