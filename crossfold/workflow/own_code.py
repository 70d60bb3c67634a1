"""A site's own code, beside its configuration: found, imported, and watched for edits."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from crossfold.config.imports import file_of, files_of_module, parsed
from crossfold.errors import CrossfoldError


class OwnCode:
    """Packages that lie beside the Snakefile or hold a configuration file.

    The folder of `../my_lab/config.yaml` is the package `my_lab`. Making one puts the folder above
    it at the end of the search path of Python, here and in the jobs, if there is code in it.

    Parameters
    ----------
    files
        Configuration files of a run.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._packages: dict[str, Path] = {}
        above: dict[str, None] = {}
        for file in files:
            folder = Path(os.path.normpath(file.absolute())).parent
            if folder.resolve() != Path.cwd().resolve() and any(folder.glob("*.py")):
                self._packages[folder.name] = Path(os.path.relpath(folder))
                above[str(folder.parent)] = None
        _append("PYTHONPATH", above)
        sys.path += [folder for folder in above if folder not in sys.path]

    def files_of(self, targets: Mapping[str, str]) -> list[str]:
        """Return the files that import paths lead to: their modules, and all that these import.

        Parameters
        ----------
        targets
            Import paths, each with the key of the configuration in which it stands.

        Returns
        -------
        list of str
            Only files of the packages above: nothing of Crossfold and of installed packages.

        Raises
        ------
        CrossfoldError
            If such a package has no module of that name, or the module nothing of that name.
        """
        found: dict[Path, None] = {}
        for target, key in targets.items():
            module, _, name = target.rpartition(".")
            root = self._root(module)
            if root is None:
                continue
            file = file_of(root, module)
            if file is None:
                missing = root.joinpath(*module.split(".")[1:])
                raise CrossfoldError(
                    f"{key}: cannot import {target}: there is no {missing}.py",
                    remedy="check the spelling, and the folder of the configuration file",
                )
            if name not in _defined(file):
                raise CrossfoldError(
                    f"{key}: cannot import {target}: {file} has no `{name}`",
                    remedy="check the spelling",
                )
            found |= dict.fromkeys(files_of_module(module, self._root))
        return [str(file) for file in found]

    def _root(self, module: str) -> Path | None:
        """Return the folder of the package that a module is in, if that is a site's own."""
        top = module.partition(".")[0]
        if top in self._packages:
            return self._packages[top]
        is_here = Path(top).is_dir() or Path(f"{top}.py").is_file()
        return Path(top) if is_here and top != "crossfold" else None


def _append(variable: str, folders: Iterable[str]) -> None:
    known = [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]
    os.environ[variable] = os.pathsep.join(dict.fromkeys([*known, *folders]))
    if not os.environ[variable]:
        del os.environ[variable]


def _defined(file: Path) -> set[str]:
    """Return the names that a module has at its top level; its conditions are not judged."""
    names = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names
