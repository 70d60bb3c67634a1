"""Hashes of the code behind a rule, and versions of the packages that it runs with."""

from __future__ import annotations

import ast
import functools
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

PACKAGE = Path(__file__).parents[1]
ENVIRONMENTS = PACKAGE.parent / "envs"

# What shows progress, or brings files whose content is checked elsewhere, changes no result.
_WITHOUT_INFLUENCE = frozenset(
    {"dvc", "dvc-data", "nvidia-ml-py", "snakemake", "tensorboard", "tqdm"}
)
# Pillow encodes pictures of figures; beside training, only those that TensorBoard shows. What reads
# DICOM brings images, whose content is checked.
_WITHOUT_INFLUENCE_IN = {
    "data": frozenset({"contourpy", "highdicom", "pydicom"}),
    "torch": frozenset({"pillow"}),
}


def fingerprint(*modules: str) -> str:
    """Hash library modules, so that Snakemake sees that the code behind a rule has changed.

    Parameters
    ----------
    modules
        Files or folders below crossfold/, such as "data/splits.py"; folders with their templates.
    """
    digest = hashlib.sha256()
    for module in modules:
        path = PACKAGE / module
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if _decides(file))
        for file in files:
            digest.update(file.relative_to(PACKAGE).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _decides(file: Path) -> bool:
    return file.suffix == ".py" or (file.parent.name == "templates" and file.is_file())


def fingerprint_with_imports(module: str) -> str:
    """Hash a module together with those of its wing that it imports, and those that they import.

    Templates that lie beside any of them count as well.

    Parameters
    ----------
    module
        File below crossfold/, such as "paper/figures/metrics.py".
    """
    wing = f"crossfold.{Path(module).parts[0]}"
    found, left = {module}, [module]
    while left:
        for name in _imported(PACKAGE / left.pop()):
            path = Path(*name.split(".")[1:])
            if f"{name}.".startswith(f"{wing}."):
                for file in (path.with_suffix(".py"), path / "__init__.py"):
                    if (PACKAGE / file).is_file() and file.as_posix() not in found:
                        found.add(file.as_posix())
                        left.append(file.as_posix())
    templates = {Path(file).parent / "templates" for file in found}
    found |= {folder.as_posix() for folder in templates if (PACKAGE / folder).is_dir()}
    return fingerprint(*sorted(found))


@functools.cache
def _imported(file: Path) -> set[str]:
    """Return the names that a module imports: of modules, and of what could be modules in them."""
    names = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@functools.cache
def software_of(environment: str) -> list[str]:
    """Return the packages that decide what the jobs of a conda environment compute.

    Parameters
    ----------
    environment
        Name of a file in envs/, without its suffix.

    Returns
    -------
    list of str
        `name==version` as installed here, or as the environment pins it where it is not: an
        update makes rules run again. Builds of a version for other machines are one.
    """
    file = ENVIRONMENTS / f"{environment}.yaml"
    dependencies = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]
    pinned = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    names = [requirement.partition("==")[::2] for requirement in pinned]
    idle = _WITHOUT_INFLUENCE | _WITHOUT_INFLUENCE_IN.get(environment, frozenset())
    return [f"{name}=={_installed(name) or pin}" for name, pin in sorted(names) if name not in idle]


def _installed(package: str) -> str | None:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None
