"""What is declared, locked, documented and put into environments is one set of versions."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {path.stem: path for path in sorted((ROOT / "locks").glob("*.txt"))}
ENVIRONMENTS = {path.stem: path for path in sorted((ROOT / "envs").glob("*.yaml"))}
PLUGINS = {path.parent.name: path for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))}
WINGS = {
    "data": ["data", "evaluation"],
    "torch": ["learning", "prediction"],
    "paper": ["paper"],
    "bundle": ["bundling"],
    "search": ["search.proposals"],  # its other modules run where they are needed
}


def requirements_of(path: Path) -> list[Requirement]:
    return [Requirement(line) for line in path.read_text().splitlines()]


def pins(requirements: list[Requirement]) -> dict[str, Version]:
    versions = {}
    for requirement in requirements:
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        versions[canonicalize_name(requirement.name)] = Version(specifier.version)
    return versions


def locked(*names: str) -> dict[str, Version]:
    return pins([requirement for name in names for requirement in requirements_of(LOCKS[name])])


def declared(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, list[Requirement]]:
    project = tomllib.loads(pyproject.read_text())["project"]
    sets = {"core": project["dependencies"], **project.get("optional-dependencies", {})}
    return {name: [Requirement(line) for line in lines] for name, lines in sets.items()}


def environment_pins(name: str) -> dict[str, Version]:
    dependencies = yaml.safe_load(ENVIRONMENTS[name].read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    return pins([Requirement(line) for line in pip])


def imported_distributions(wings: list[str]) -> set[str]:
    """Distributions that these wings import, directly or through other modules of Crossfold."""
    graph = grimp.build_graph(
        "crossfold",
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    modules = set().union(
        *(graph.find_upstream_modules(f"crossfold.{wing}", as_package=True) for wing in wings)
    )
    external = {module for module in modules if module.split(".")[0] != "crossfold"}
    providers = packages_distributions()
    return {
        canonicalize_name(providers[module][0]) for module in external - sys.stdlib_module_names
    }


def assert_locked(requirements: list[Requirement], versions: dict[str, Version]) -> None:
    for requirement in requirements:
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_exact_public_versions(name: str) -> None:
    for requirement in requirements_of(LOCKS[name]):
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert requirement.url is None, requirement


@pytest.mark.parametrize("name", LOCKS)
def test_torch_locks_neither_its_build_nor_its_companions(name: str) -> None:
    unwanted = re.compile(r"cuda-.*|nvidia-(?!ml-py).*|triton|torchvision|torchaudio")
    assert not [package for package in locked(name) if unwanted.fullmatch(package)]


def test_no_package_is_locked_in_two_versions() -> None:
    requirements = [requirement for path in LOCKS.values() for requirement in requirements_of(path)]
    versions = {(canonicalize_name(each.name), str(each.specifier)) for each in requirements}
    assert len(versions) == len({name for name, _ in versions})


@pytest.mark.parametrize("name", declared())
def test_every_declared_dependency_is_locked_within_its_bounds(name: str) -> None:
    assert_locked(declared()[name], locked("core", name))


@pytest.mark.parametrize("name", PLUGINS)
def test_every_dependency_of_a_plugin_is_locked_within_its_bounds(name: str) -> None:
    assert_locked(declared(PLUGINS[name])["core"], locked("core", "azureml"))


def test_every_imported_distribution_is_declared() -> None:
    direct = declared()["core"] + declared()["dicom"]
    names = {canonicalize_name(requirement.name) for requirement in direct}
    wings = [wing for members in WINGS.values() for wing in members]
    # pydantic and its own core are one thing to the people who use them
    assert imported_distributions(wings) - {"pydantic-core"} <= names


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_pins_what_is_locked(name: str) -> None:
    assert environment_pins(name).items() <= locked("core", "dicom").items()


@pytest.mark.parametrize("name", WINGS)
def test_an_environment_has_all_that_its_wings_import(name: str) -> None:
    assert imported_distributions(WINGS[name]) - {"pydantic-core"} <= set(environment_pins(name))


def test_the_documentation_names_the_locked_releases() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    documented = pins(
        [
            Requirement(f"{package}=={version}")
            for package, version in re.findall(r"^\| ([\w-]+) \| (\d[\w.]*) \|", text, re.MULTILINE)
        ]
    )
    direct = [each for name in ("core", "azureml", "dicom") for each in declared()[name]]
    assert documented.items() <= locked("core", "azureml", "dicom").items()
    assert {canonicalize_name(requirement.name) for requirement in direct} <= set(documented)
