from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfold.errors import CrossfoldError
from crossfold.registry.folder import FolderRegistry
from crossfold.registry.references import Located, locate, read_section
from crossfold.registry.registered import Reference
from tests.unit.registry.bundles import make_bundle, read


@given(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]*", fullmatch=True),
    st.one_of(st.none(), st.just("current"), st.integers(1, 10**6)),
)
def test_references_are_read_as_they_are_written(name: str, version: int | str | None) -> None:
    assert Reference.parse(str(Reference(name, version))) == Reference(name, version)


@pytest.mark.parametrize("text", ["", "Prostate:", "Prostate:0", "Prostate:-1", "3", "a:b", "a b"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(CrossfoldError, match="not the name of a registered model"):
        Reference.parse(text)


def test_bundles_are_found_by_reference_and_by_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUP", str(tmp_path / "group"))
    checkout = tmp_path / "checkout"
    bundle = make_bundle(checkout / "results/Prostate/model")
    (checkout / "config.yaml").write_text("registry: {path: $GROUP/registry}\nmodels: {}\n")
    registry = FolderRegistry(tmp_path / "group/registry")
    registry.register(*read(bundle))
    registry.register(*read(make_bundle(tmp_path / "two", "two")))
    assert locate("Prostate", checkout).path == registry.path / "Prostate/2/model"
    registry.mark_current(Reference("Prostate", 1))
    for reference in ("Prostate", "Prostate:current", "Prostate:1"):
        assert locate(reference, checkout).path == registry.path / "Prostate/1/model"
    assert locate("results/Prostate/model", checkout) == Located(bundle)
    assert locate(str(bundle)) == Located(bundle)
    model = locate("model", checkout / "results/Prostate")  # no such name is registered
    assert model == Located(bundle)
    found = locate("Prostate:2", tmp_path, registry=registry.path).registered
    assert found is not None
    assert found.id == "Prostate:2"
    with pytest.raises(CrossfoldError, match="choose one of Prostate:1, Prostate:2"):
        locate("Prostate:7", checkout)
    with pytest.raises(CrossfoldError, match="holds no bundle"):
        locate("results/Prostate", checkout)


def test_without_a_configuration_the_registry_is_beside(tmp_path: Path) -> None:
    assert read_section(tmp_path).folder(tmp_path) == tmp_path / "registry"


def test_a_wrong_section_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("registry: {kind: cloud}\n")
    with pytest.raises(CrossfoldError, match=r"config\.yaml: registry\.kind"):
        read_section(tmp_path)
