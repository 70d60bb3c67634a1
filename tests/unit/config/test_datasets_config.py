from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from crossfold.config.datasets import (
    DatasetConfig,
    DecathlonDataset,
    FolderDataset,
    PhantomDataset,
    expand_path,
)
from crossfold.errors import CrossfoldError

ADAPTER: TypeAdapter[DatasetConfig] = TypeAdapter(DatasetConfig)
FOLDER = {"source": "folder", "path": "data", "images": {"ct": "{subject}_ct.nii.gz"}}


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"source": "phantom", "subjects": 3}, PhantomDataset),
        ({"source": "decathlon", "path": "$X/prostate", "link": True}, DecathlonDataset),
        (FOLDER, FolderDataset),
    ],
)
def test_source_selects_the_model(section: dict, expected: type) -> None:
    assert type(ADAPTER.validate_python(section)) is expected


def test_only_the_phantom_is_synthetic() -> None:
    assert ADAPTER.validate_python({"source": "phantom", "subjects": 1}).synthetic
    for source in ("decathlon", "nnunet", "innereye"):
        assert not ADAPTER.validate_python({"source": source, "path": "data"}).synthetic
    assert not ADAPTER.validate_python(FOLDER).synthetic


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"source": "phantom", "subjects": 0}, "greater than or equal to 1"),
        ({"source": "phantom", "subjects": 1, "path": "data"}, "unknown key `path`"),
        ({"source": "decathlon", "pth": "data"}, "did you mean `path`"),
        ({"source": "decathlon"}, "Field required"),
        ({"source": "xnat", "path": "data"}, "'decathlon'"),
        (FOLDER | {"images": {}}, "at least 1"),
        (FOLDER | {"images": {"ct": "ct.nii.gz"}}, "subject"),
        (FOLDER | {"structures": {"ct": "{subject}_lung.nii.gz"}}, "`ct` is defined twice"),
        (FOLDER | {"labels": {"pattern": "{subject}.nii", "values": {"lung": 0}}}, "equal to 1"),
        (FOLDER | {"labels": {"pattern": "{subject}.nii", "values": {"ct": 1}}}, "defined twice"),
    ],
)
def test_wrong_sections_are_refused(section: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(section)


@pytest.mark.parametrize("text", ["$CROSSFOLD_DATA/prostate", "${CROSSFOLD_DATA}/prostate"])
def test_variables_are_expanded(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFOLD_DATA", "/mnt/data")
    assert expand_path(text, "prostate_mr") == Path("/mnt/data/prostate")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert expand_path("~/prostate", "prostate_mr") == Path("/home/ada/prostate")


def test_unset_variable_is_named_only_when_the_path_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CROSSFOLD_DATA", raising=False)
    dataset = ADAPTER.validate_python({"source": "decathlon", "path": "$CROSSFOLD_DATA/prostate"})
    with pytest.raises(CrossfoldError) as caught:
        expand_path(dataset.path, "prostate_mr")
    assert "datasets.prostate_mr.path" in caught.value.message
    assert "CROSSFOLD_DATA is not set" in caught.value.message
    assert "export CROSSFOLD_DATA=" in caught.value.remedy
