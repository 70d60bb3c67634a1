"""A site's own code, beside its configuration: found, imported, and watched for edits."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

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
            file = _file_of(root, module)
            if file is None:
                raise CrossfoldError(
                    f"{key}: cannot import {target}: there is no {root / _below(module)}.py",
                    remedy="check the spelling, and the folder of the configuration file",
                )
            if name not in _defined(file):
                raise CrossfoldError(
                    f"{key}: cannot import {target}: {file} has no `{name}`",
                    remedy="check the spelling",
                )
            self._follow(module, found)
        return [str(file) for file in found]

    def _root(self, module: str) -> Path | None:
        """Return the folder of the package that a module is in, if that is a site's own."""
        top = module.partition(".")[0]
        if top in self._packages:
            return self._packages[top]
        is_here = Path(top).is_dir() or Path(f"{top}.py").is_file()
        return Path(top) if is_here and top != "crossfold" else None

    def _follow(self, module: str, found: dict[Path, None]) -> None:
        """Add the file of a module, those of the packages around it, and those that it imports."""
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            name = ".".join(parts[:depth])
            root = self._root(name)
            file = root and _file_of(root, name)
            if file and file not in found:
                found[file] = None
                for imported in _imported(file, name):
                    self._follow(imported, found)


def _append(variable: str, folders: Iterable[str]) -> None:
    known = [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]
    os.environ[variable] = os.pathsep.join(dict.fromkeys([*known, *folders]))
    if not os.environ[variable]:
        del os.environ[variable]


def _below(module: str) -> Path:
    return Path(*module.split(".")[1:])


def _file_of(root: Path, module: str) -> Path | None:
    """Return the file of a module in the package whose folder is `root`."""
    path = root / _below(module)
    # A path without a name of its own is the package, or a module beside the Snakefile.
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise CrossfoldError(
            f"{file}: line {error.lineno}: {error.msg}", remedy="mend the file"
        ) from error


def _defined(file: Path) -> set[str]:
    """Return the names that a module has at its top level; its conditions are not judged."""
    names = set()
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def _imported(file: Path, module: str) -> Iterator[str]:
    """Yield the names that a module imports: of modules, and of what could be modules in them."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
