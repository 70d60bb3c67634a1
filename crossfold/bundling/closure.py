"""The code and the packages that prediction needs: what travels in a bundle."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from crossfold.config.imports import file_of, imported_names, package_root

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
        root = package_root(parts[0])
        if root is None:
            outside.add(parts[0])
            continue
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            file = file_of(root, name)
            if file is None:
                continue
            relative = Path(*parts[:depth]).as_posix()
            relative += "/__init__.py" if file.name == "__init__.py" else ".py"
            if relative not in files:
                files[relative] = file
                left += imported_names(file, name)
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
