from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossfold.errors import CrossfoldError
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from tests.unit.registry.bundles import ROWS, make_bundle


def test_the_text_says_epoch_folds_and_dice_with_intervals(tmp_path: Path) -> None:
    facts = Facts.of(BundleFiles.read(make_bundle(tmp_path)))
    assert facts.name == "Prostate"
    assert facts.description == (
        "Pelvis on CT. Prostate: epoch 20, an ensemble of 2 folds. "
        "Test Dice, 8 subjects: bladder 0.900; rectum 0.800 (0.700 to 0.850). "
        "Validation (out of fold) Dice, 8 subjects: rectum 0.750 (0.710 to 0.790)."
    )
    assert facts.tags == {
        "run": "Prostate",
        "epoch": "20",
        "folds": "2",
        "commit": "0123abc",
        "dataset": "77aa.dir",
        "dice_test": "0.8500",
        "dice_val": "0.7500",
    }


def test_structures_that_some_subjects_lack_are_counted_one_by_one(tmp_path: Path) -> None:
    rows = [row | {"n": 8 - number} for number, row in enumerate(ROWS)]
    facts = Facts.of(BundleFiles.read(make_bundle(tmp_path, metrics=rows)))
    assert "Test Dice: bladder 0.900, n=8; rectum 0.800 (0.700 to 0.850), n=7." in facts.description


def test_an_earlier_epoch_is_a_version_of_the_same_model(tmp_path: Path) -> None:
    rows = [row | {"mean": None} for row in ROWS]
    bundle = make_bundle(tmp_path, name="Prostate@5", epoch=5, folds=[0], metrics=rows)
    facts = Facts.of(BundleFiles.read(bundle))
    assert (facts.name, facts.tags["run"]) == ("Prostate", "Prostate@5")
    assert facts.description == "Pelvis on CT. Prostate@5: epoch 5, 1 fold."


@pytest.mark.parametrize("changed", [{"metrics": [{}]}, {"folds": None}, {"name": 3}])
def test_a_description_that_is_none_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    bundle = BundleFiles.read(make_bundle(tmp_path, **changed))
    with pytest.raises(CrossfoldError, match="does not say what its model is"):
        Facts.of(bundle)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no hashes.json"),
        ("{", "damaged"),
        ('{"format": 1}', "damaged"),
        ("[]", "damaged"),
        ('{"format": 2, "files": {}, "made_from": {}}', "has format 2"),
        *(
            (json.dumps({"format": 1, "files": {name: "0"}, "made_from": {}}), "outside the bundle")
            for name in ("../a", "/etc/passwd", "a/../../b", "", "..\\a")
        ),
    ],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "hashes.json").write_text(content)
    with pytest.raises(CrossfoldError, match=message):
        BundleFiles.read(tmp_path)


def test_altered_and_missing_files_are_named(tmp_path: Path) -> None:
    bundle = BundleFiles.read(make_bundle(tmp_path))
    assert not list(bundle.problems())
    (tmp_path / "docs/README.md").unlink()
    (tmp_path / "models/fold_0.safetensors").write_text("weightz")
    assert sorted(bundle.problems()) == [
        "docs/README.md is missing",
        "models/fold_0.safetensors is altered",
    ]
