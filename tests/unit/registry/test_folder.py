from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
from dvc.repo import Repo

from crossfold.errors import CrossfoldError
from crossfold.registry.folder import FolderRegistry
from crossfold.registry.registered import Reference
from tests.unit.registry.bundles import make_bundle, read

REPOSITORY = Path(__file__).parents[3]
REGISTER = """
import sys
from pathlib import Path
from crossfold.registry.bundles import BundleFiles
from crossfold.registry.facts import Facts
from crossfold.registry.folder import FolderRegistry

registry, *folders = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
for folder in folders:
    bundle = BundleFiles.read(folder)
    print(FolderRegistry(registry).register(bundle, Facts.of(bundle)).version, folder.name)
"""


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "registry", "$GROUP/registry")


def test_versions_count_and_hold_what_was_registered(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "one", "first")
    (bundle / "__pycache__").mkdir()
    first = registry.register(*read(bundle))
    second = registry.register(*read(make_bundle(tmp_path / "two", "second")))
    assert (first.id, second.id) == ("Prostate:1", "Prostate:2")
    assert first.where == "$GROUP/registry/Prostate/1"
    assert first.path == registry.path / "Prostate/1/model"
    assert first.tags["commit"] == "0123abc"
    assert (first.path / "models/fold_0.safetensors").read_text() == "first"
    assert not (first.path / "__pycache__").exists()
    assert read(first.path)[0].digest == first.digest
    assert list(registry.models().registered) == [first, second]
    index = json.loads((registry.path / "index.json").read_text())
    assert list(index["models"]["Prostate"]["versions"]) == ["1", "2"]
    assert not list(registry.path.rglob(".part-*"))


def test_the_same_bundle_is_the_same_version(registry: FolderRegistry, tmp_path: Path) -> None:
    first = registry.register(*read(make_bundle(tmp_path / "one")))
    registry.register(*read(make_bundle(tmp_path / "two", "other")))
    assert registry.register(*read(make_bundle(tmp_path / "again"))) == first
    assert len(registry.models("Prostate").registered) == 2


def test_many_people_at_once_never_get_the_same_version(tmp_path: Path) -> None:
    people, bundles = 4, 5
    folders = [make_bundle(tmp_path / f"own{n}", f"{n}") for n in range(people * bundles)]
    # So large that all copy it before the first is done.
    shared = [make_bundle(tmp_path / f"shared{n}", f"{n}" * 10_000_000) for n in range(2)]
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", REGISTER, tmp_path / "registry"),
                *(shared[0], *folders[person::people], shared[1]),
            ],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for person in range(people)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    given: dict[str, set[int]] = {}
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        for line in said.splitlines():
            version, name = line.split()
            given.setdefault(name, set()).add(int(version))
    assert all(len(versions) == 1 for versions in given.values())
    counts = Counter(version for versions in given.values() for version in versions)
    assert counts == Counter(range(1, people * bundles + 3))
    registry = FolderRegistry(tmp_path / "registry")
    assert not registry.models().damaged
    index = json.loads((registry.path / "index.json").read_text())
    assert {*index["models"]["Prostate"]["versions"]} == {str(number) for number in counts}
    assert not list(registry.path.rglob(".part-*"))


def test_a_bundle_that_is_not_whole_is_not_registered(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    bundle = make_bundle(tmp_path / "one")
    known = read(bundle)
    (bundle / "models/fold_0.safetensors").write_text("others")
    with pytest.raises(CrossfoldError, match=r"fold_0\.safetensors is altered"):
        registry.register(*known)
    (bundle / "models/fold_0.safetensors").unlink()
    with pytest.raises(CrossfoldError, match=r"fold_0\.safetensors is missing"):
        registry.register(*known)
    assert [*(registry.path / "Prostate").iterdir()] == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("a file")
    with pytest.raises(CrossfoldError, match="registry cannot be written"):
        FolderRegistry(tmp_path / "registry").register(*read(make_bundle(tmp_path / "one")))


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    large = read(make_bundle(tmp_path / "one", "w" * 100_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(CrossfoldError, match="registry cannot be written: File too large"):
            registry.register(*large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [*(registry.path / "Prostate").iterdir()] == []
    assert registry.register(*large).version == 1


def test_names_of_models_are_folders(registry: FolderRegistry, tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="cannot be the name"):
        registry.register(*read(make_bundle(tmp_path / "one", name="../outside")))


def test_a_file_in_the_way_of_a_version_is_named(registry: FolderRegistry, tmp_path: Path) -> None:
    registry.register(*read(make_bundle(tmp_path / "one", "1")))
    (registry.path / "Prostate/2").touch()
    with pytest.raises(CrossfoldError, match="Prostate/2: is a file, where version 2 would be"):
        registry.register(*read(make_bundle(tmp_path / "two", "2")))


def test_the_current_version_is_marked_and_asked_for(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        registry.register(*read(make_bundle(tmp_path / str(number), f"{number}")))
    assert registry.find(Reference("Prostate")).version == 3
    with pytest.raises(CrossfoldError, match="Prostate:current"):
        registry.find(Reference.parse("Prostate:current"))
    registry.mark_current(Reference("Prostate", 1))
    assert registry.mark_current(Reference("Prostate", 2)).current
    assert [one.current for one in registry.models().registered] == [False, True, False]
    assert registry.find(Reference("Prostate")).version == 2
    assert registry.find(Reference.parse("Prostate:current")).version == 2
    assert registry.find(Reference("Prostate", 3)).version == 3
    assert [one.marked[:2] for one in registry.models().registered] == ["20", "20", ""]
    assert (
        json.loads((registry.path / "index.json").read_text())["models"]["Prostate"]["current"] == 2
    )
    with pytest.raises(CrossfoldError, match="which version"):
        registry.mark_current(Reference("Prostate"))
    (registry.path / "Prostate/current.json").write_text("{")
    with pytest.raises(CrossfoldError, match="crossfold models use Prostate"):
        registry.find(Reference("Prostate"))
    # Other models are none the worse for it.
    registry.register(*read(make_bundle(tmp_path / "other", name="Other")))
    assert {one.name for one in registry.models().registered} == {"Prostate", "Other"}
    assert registry.mark_current(Reference("Prostate", 1)).version == 1
    marked = [bool(one.marked) for one in registry.models("Prostate").registered]
    assert marked == [True, False, False]


@pytest.mark.parametrize("kept", ['{"version": 1, "marked": null}', "[]", '{"version": 1, "x": 2}'])
def test_a_damaged_mark_is_mended_by_another(
    registry: FolderRegistry, tmp_path: Path, kept: str
) -> None:
    registry.register(*read(make_bundle(tmp_path / "bundle")))
    (registry.path / "Prostate/current.json").write_text(kept)
    assert [one.id for one in registry.models().registered] == ["Prostate:1"]
    with pytest.raises(CrossfoldError, match="crossfold models use Prostate"):
        registry.find(Reference("Prostate"))
    registry.mark_current(Reference("Prostate", 1))
    assert registry.find(Reference("Prostate")).current


def test_what_has_no_name_or_number_of_a_model_is_none(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    registry.register(*read(make_bundle(tmp_path / "bundle")))
    for name in (".part-x/3", "Prostate/\u0663", "Prostate/01"):
        shutil.copytree(registry.path / "Prostate/1", registry.path / name)
    assert [one.id for one in registry.models().all] == ["Prostate:1"]


def test_a_registration_without_tags_is_damaged(registry: FolderRegistry, tmp_path: Path) -> None:
    registry.register(*read(make_bundle(tmp_path / "bundle")))
    file = registry.path / "Prostate/1/registration.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tags": None}))
    assert [one.id for one in registry.models().damaged] == ["Prostate:1"]


def test_what_is_not_there_is_said_with_what_is(registry: FolderRegistry, tmp_path: Path) -> None:
    with pytest.raises(CrossfoldError, match="crossfold models add"):
        registry.find(Reference("Prostate"))
    registry.register(*read(make_bundle(tmp_path / "one")))
    with pytest.raises(CrossfoldError, match="choose one of Prostate:1"):
        registry.find(Reference("Prostate", 7))


def test_damaged_versions_are_named_and_numbers_stay_theirs(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    for number in range(1, 6):
        registry.register(*read(make_bundle(tmp_path / str(number), f"{number}")))
    model = registry.path / "Prostate"
    (model / "1/registration.json").unlink()
    (model / "2/registration.json").write_text("{}")
    (model / "3/model/hashes.json").write_text('{"format": 1, "files": {}, "made_from": {}}')
    shutil.rmtree(model / "5")
    found = registry.models()
    assert [one.id for one in found.registered] == ["Prostate:4"]
    reasons = {one.id: one.reason for one in found.damaged}
    assert "1/registration.json: not readable" in reasons["Prostate:1"]
    assert "2/registration.json: not readable" in reasons["Prostate:2"]
    assert "not the bundle that was registered" in reasons["Prostate:3"]
    assert "its folder is gone" in reasons["Prostate:5"]
    assert registry.find(Reference("Prostate", 4)).version == 4
    for reference in (Reference("Prostate"), Reference("Prostate", 5)):  # the newest is gone
        with pytest.raises(CrossfoldError, match="Prostate:5: was registered"):
            registry.find(reference)
    assert registry.register(*read(make_bundle(tmp_path / "6", "6"))).version == 6
    assert "Prostate:5" in {one.id for one in registry.models().damaged}


def test_a_version_may_have_the_number_that_it_has_elsewhere(
    registry: FolderRegistry, tmp_path: Path
) -> None:
    one, other = (read(make_bundle(tmp_path / name, name)) for name in ("one", "other"))
    assert registry.register(*one, version=4).version == 4
    assert registry.register(*one, version=4).version == 4
    assert registry.register(*other).version == 5
    with pytest.raises(CrossfoldError, match=r"Prostate:4 in .* is another bundle"):
        registry.register(*other, version=4)
    (registry.path / "Prostate/4/registration.json").unlink()
    with pytest.raises(CrossfoldError, match=r"Prostate:4 in .* is damaged"):
        registry.register(*one, version=4)
    shutil.rmtree(registry.path / "Prostate/4")
    assert registry.register(*one, version=4).version == 4
    assert not registry.models().damaged


def test_a_folder_that_dvc_keeps_grows_and_comes_back(tmp_path: Path) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # DVC about its own packages
    repository = Repo.init(str(tmp_path), no_scm=True)
    with repository.config.edit() as config:
        config["cache"]["type"] = ["symlink", "hardlink"]
    folder = tmp_path / "registry"
    registry = FolderRegistry(folder)
    first = registry.register(*read(make_bundle(tmp_path / "one", "first")))
    repository.add(str(folder))
    registry.register(*read(make_bundle(tmp_path / "two", "second")))
    registry.mark_current(Reference("Prostate", 1))
    repository.add(str(folder))
    shutil.rmtree(folder)
    repository.checkout()
    repository.close()
    assert registry.find(Reference("Prostate")).digest == first.digest
    assert not list(read(folder / "Prostate/1/model")[0].problems())
    assert len(registry.models().registered) == 2
