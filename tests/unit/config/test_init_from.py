from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crossfold.config.init_from import InitFrom
from crossfold.config.loading import load_config
from crossfold.config.root import Config
from crossfold.errors import CrossfoldError

PHANTOM = {"source": "phantom", "subjects": 8}
MODEL: dict[str, Any] = {"dataset": "ct", "images": ["ct"], "structures": ["organ"]}


def load(**models: Any) -> Config:
    datasets = {"ct": PHANTOM, "other": PHANTOM}
    return load_config({"datasets": datasets, "models": models})


def test_a_model_starts_at_random_unless_it_says_otherwise() -> None:
    assert load(A=MODEL).model("A").init_from is None
    start = load(A=MODEL, B={**MODEL, "init_from": {"model": "A"}}).model("B").init_from
    assert start == InitFrom(model="A", epoch=None, folds="same")


@pytest.mark.parametrize(
    ("section", "message", "remedy"),
    [
        ({}, "names no source", "exactly one of model, file and innereye"),
        ({"model": "A", "file": "a"}, "names model and file", "exactly one"),
        ({"file": "a", "epoch": 3}, "only a model has epochs and folds", "leave them out"),
        ({"model": "Q"}, "init_from.model: unknown model `Q`", "choose one of `A`"),
        ({"model": "A", "epoch": 3}, "A keeps no checkpoint of epoch 3", "choose one of 60"),
        ({"modl": "A"}, "init_from.modl: unknown key `modl`", "did you mean `model`"),
        ({"model": "B"}, "start from each other: B -> B", "remove one"),
    ],
)
def test_errors_name_the_key_and_the_remedy(
    section: dict[str, Any], message: str, remedy: str
) -> None:
    with pytest.raises(CrossfoldError) as raised:
        load(A=MODEL, B={**MODEL, "init_from": section})
    first, last = str(raised.value).split("\n")
    assert first.startswith("configuration: models.B.init_from")
    assert message in first
    assert remedy in last


def test_models_that_start_from_each_other_are_refused() -> None:
    with pytest.raises(CrossfoldError, match="A -> B -> A"):
        load(
            A={**MODEL, "init_from": {"model": "B"}},
            B={**MODEL, "init_from": {"model": "A"}},
        )


def test_folds_need_a_fold_to_start_from() -> None:
    ten = {**MODEL, "dataset": "other", "splits": {"folds": 7}}
    with pytest.raises(CrossfoldError, match="A has 5 folds and this model 7"):
        load(A=MODEL, B={**ten, "init_from": {"model": "A"}})
    load(A=MODEL, B={**ten, "init_from": {"model": "A", "folds": "average"}})


def test_a_model_is_not_measured_on_subjects_that_have_taught_it() -> None:
    other = {**MODEL, "splits": {"seed": 1}, "init_from": {"model": "A"}}
    with pytest.raises(CrossfoldError, match="same dataset but other `splits`"):
        load(A=MODEL, B=other)
    load(A=MODEL, B={**other, "dataset": "other"})


def test_the_file_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    start = InitFrom(innereye="$WEIGHTS/120_checkpoint.pth.tar")
    with pytest.raises(CrossfoldError, match=r"models\.B\.init_from\.innereye: there is no file"):
        start.path("B")
    (tmp_path / "120_checkpoint.pth.tar").touch()
    assert start.path("B") == tmp_path / "120_checkpoint.pth.tar"
    monkeypatch.delenv("WEIGHTS")
    with pytest.raises(CrossfoldError, match=r"models\.B\.init_from\.innereye.*WEIGHTS"):
        start.path("B")
