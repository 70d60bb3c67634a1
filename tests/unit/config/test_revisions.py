from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crossfold.config.datasets import DvcDataset
from crossfold.config.loading import load_config
from crossfold.config.models import ModelConfig
from crossfold.config.root import Config
from crossfold.errors import CrossfoldError

DATASETS = {
    "phantom": {"source": "phantom", "subjects": 8, "licence": "CC0"},
    "mr": {"source": "folder", "path": "$NOWHERE", "images": {"t2": "{subject}.nii.gz"}},
    "theirs": {"source": "dvc", "url": "$REGISTRY/data.git", "path": "sets/t2", "rev": "v1"},
}
MODEL: dict[str, Any] = {"images": ["t2"], "structures": ["gland"]}


def load(dataset: Any, **more: Any) -> Config:
    models = {"Model": MODEL | {"dataset": dataset}, **more}
    return load_config({"datasets": DATASETS, "models": models})


def test_a_revision_is_a_dataset_of_its_own() -> None:
    config = load({"name": "phantom", "rev": "v1.2"}, Newest=MODEL | {"dataset": "phantom"})
    assert config.model("Model").dataset == "phantom@v1.2"
    assert config.model("Newest").dataset == "phantom"
    assert config.datasets["phantom@v1.2"] == DvcDataset(
        source="dvc", path="data/phantom", rev="v1.2", synthetic=True, licence="CC0"
    )
    assert not config.datasets["mr"].synthetic


def test_the_name_is_what_config_json_holds() -> None:
    model = ModelConfig(**MODEL, dataset={"name": "mr", "rev": "v2"})
    assert model.model_dump(mode="json")["dataset"] == "mr@v2"
    assert ModelConfig(**model.model_dump(by_alias=True)) == model


def test_a_revision_of_another_repository_is_one_of_its_own() -> None:
    section = load({"name": "theirs", "rev": "v2"}).datasets["theirs@v2"]
    assert isinstance(section, DvcDataset)
    assert (section.url, section.path, section.rev) == ("$REGISTRY/data.git", "sets/t2", "v2")


def test_a_derived_model_may_name_the_revision_alone() -> None:
    config = load({"name": "mr", "rev": "v1"}, Later={"base": "Model", "dataset": {"rev": "v2"}})
    assert config.model("Later").dataset == "mr@v2"


@pytest.mark.parametrize(
    ("dataset", "message", "remedy"),
    [
        ({"name": "mir", "rev": "v1"}, "dataset.name: unknown dataset `mir`", "`mr`"),
        ({"name": "mr@v1", "rev": "v1"}, "dataset.name: unknown dataset `mr@v1`", "`mr`"),
        ("mr@v1", "dataset: unknown dataset `mr@v1`", "`mr`"),
        ({"name": "mr"}, "dataset.rev: missing", "rev"),
        ({"name": "mr", "revision": "v1"}, "dataset.revision: unknown key", "`rev`"),
        ({"name": "mr", "rev": 1.10}, "dataset.rev: 1.1 is a number", "quotes"),
        ({"name": "mr", "rev": "feature/x"}, "dataset.rev: `feature/x` cannot be part", "commit"),
        ({"name": "mr", "rev": "-v1"}, "dataset.rev: `-v1` cannot be part", "tag"),
    ],
)
def test_errors_name_key_value_and_remedy(dataset: Any, message: str, remedy: str) -> None:
    with pytest.raises(CrossfoldError) as caught:
        load(dataset, Other=MODEL | {"dataset": {"name": "mr", "rev": "v1"}})
    assert f"models.Model.{message}" in caught.value.message
    assert remedy in caught.value.remedy


def test_only_a_variable_that_is_not_set_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGISTRY", raising=False)
    config = load({"name": "phantom", "rev": "v1"})
    assert config.dataset_is_here("phantom@v1")
    assert not config.dataset_is_here("theirs")
    monkeypatch.setenv("REGISTRY", "https://example.org")
    assert config.dataset_is_here("theirs")
