from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from crossfold.errors import CrossfoldError
from crossfold.prediction.bundle import Bundle, sha256
from tests.small_run import small_run


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("run")).bundle()


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "model"))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), encoding="utf-8")


def edit_model(path: Path, **values: object) -> None:
    """Edit configs/model.json as one who knows of the hashes."""
    edit(path / "configs/model.json", **values)
    hash_again(path, "configs/model.json")


def hash_again(path: Path, name: str) -> None:
    hashes = json.loads((path / "hashes.json").read_text("utf-8"))
    edit(path / "hashes.json", files=hashes["files"] | {name: sha256(path / name)})


def forget(path: Path, name: str) -> None:
    hashes = json.loads((path / "hashes.json").read_text("utf-8"))
    del hashes["files"][name]
    edit(path / "hashes.json", files=hashes["files"])


def test_a_bundle_says_what_it_is(path: Path) -> None:
    bundle = Bundle.read(path)
    assert (bundle.name, bundle.epoch, bundle.folds) == ("Small", 1, (0, 1))
    assert bundle.digest == sha256(path / "hashes.json")
    assert bundle.weights(1) == path / "models/fold_1.safetensors"
    assert bundle.n_subjects == {"training": 2, "test": 1}
    assert bundle.ranges.spacing_mm == ((2.0, 1.5, 3.0), (2.0, 1.5, 3.75))
    assert bundle.ranges.shape == ((12, 14, 9), (12, 14, 9))
    low, high = bundle.ranges.intensities["ct"].percentile_0_1
    assert low < high < bundle.ranges.intensities["ct"].median[0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "models/fold_0.safetensors").unlink(), "fold_0.safetensors: is miss"),
        (lambda path: (path / "requirements.txt").write_text("torch"), "requirements.txt: altered"),
        (lambda path: (path / "hashes.json").unlink(), "hashes.json: not readable"),
        (lambda path: (path / "hashes.json").write_text("{"), "hashes.json: not readable"),
        (lambda path: (path / "hashes.json").write_text("[]"), "hashes.json: holds no object"),
        (lambda path: edit(path / "hashes.json", format=2), "of format 2; this version.*knows 1"),
        (lambda path: edit(path / "hashes.json", format="?"), "hashes.json: not that of a bundle"),
        (lambda path: edit_model(path, folds="all"), "model.json: not readable with Crossfold"),
        (
            lambda path: edit(path / "hashes.json", files={"../secret": ""}),
            r"`\.\./secret` lies outside",
        ),
        (lambda path: edit(path / "hashes.json", files={}), "does not list configs/model.json"),
        (lambda path: forget(path, "models/fold_1.safetensors"), "does not list models/fold_1"),
        (lambda path: edit_model(path, name="../escaped"), "not readable with Crossfold"),
        (lambda path: edit_model(path, colour=1), r"\(unknown key `colour`[^\[]*\)"),
        (shutil.rmtree, "is no bundle of Crossfold"),
    ],
)
def test_what_is_no_whole_bundle_is_refused(
    path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(path)
    with pytest.raises(CrossfoldError, match=message):
        Bundle.read(path)


def test_other_packages_that_compute_are_said(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = path / "requirements.txt"
    wanted = f"numpy==1.0\nscipy=={version('scipy')}\ntorch==2.13.0\ntqdm==0.1\n"
    file.write_text(wanted, encoding="utf-8")
    hash_again(path, file.name)
    bundle = Bundle.read(path)
    installed = f"numpy {version('numpy')}, not 1.0"
    assert bundle.other_versions() == [installed, f"tqdm {version('tqdm')}, not 0.1"]
    assert caplog.messages == [f"{path}: single voxels may differ with {installed}"]


def test_a_bundle_of_another_version_is_read_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_model(path, crossfold_version="0.0.9")
    with caplog.at_level(logging.WARNING, "crossfold"):
        assert Bundle.read(path).crossfold_version == "0.0.9"
    assert "written by Crossfold 0.0.9, read by" in caplog.text
