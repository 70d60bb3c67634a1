"""The code and the packages that prediction needs: what travels in a bundle."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Which of these torch needs depends on the machine; its build for a machine brings them.
_OF_A_MACHINE = re.compile(r"nvidia-.*|cuda-.*|triton.*")


def modules_of(entries: Iterable[str]) -> tuple[dict[str, Path], set[str]]:
    """Follow the imports of modules as far as they are the project's, or a site's own.

    Parameters
    ----------
    entries
        Modules to start from.

    Returns
    -------
    files
        By path relative to the folder that has to be on the search path.
    packages
        Names under which installed packages are imported.
    """
    files: dict[str, Path] = {}
    outside: set[str] = set()
    left = list(entries)
    while left:
        parts = left.pop().split(".")
        root = _root_of(parts[0])
        if root is None:
            outside.add(parts[0])
            continue
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            file = _file_of(root, parts[1:depth])
            if file is None:
                continue
            relative = Path(*parts[:depth]).as_posix()
            relative += "/__init__.py" if file.name == "__init__.py" else ".py"
            if relative not in files:
                files[relative] = file
                left += _imported(file, name)
    return dict(sorted(files.items())), outside - set(sys.stdlib_module_names)


def requirements_of(packages: Iterable[str]) -> list[str]:
    """Return installed packages, and all that they need, as `name==version`, sorted.

    Parameters
    ----------
    packages
        Names under which they are imported.
    """
    distributions = _distributions()
    left = [name for package in packages for name in distributions.get(package, [package])]
    found: dict[str, str] = {}
    while left:
        name = canonicalize_name(left.pop())
        if name in found or _OF_A_MACHINE.fullmatch(name):
            continue
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:  # needed on other machines only
            continue
        for line in requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return [f"{name}=={number}" for name, number in sorted(found.items())]


_distributions = functools.cache(packages_distributions)


def _root_of(package: str) -> Path | None:
    """Return the folder, or the file, of a package that is not installed; None for others."""
    if package in sys.stdlib_module_names:
        return None
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or []) or [str(spec.origin)]
    place = Path(places[0])
    installed = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    if package != "crossfold" and any(place.is_relative_to(folder) for folder in installed):
        return None
    return place if place.exists() else None


def _file_of(root: Path, below: list[str]) -> Path | None:
    if root.is_file():
        return None if below else root
    place = root.joinpath(*below)
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _imported(file: Path, module: str) -> Iterator[str]:
    """Yield the names that a module imports: of modules, and of what could be modules in them."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in _nodes(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a module, but for what only type checkers look at."""
    yield node
    for child in ast.iter_child_nodes(node):
        checked_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not checked_only:
            yield from _nodes(child)
