"""The files that a module consists of: its own, and those that it imports."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from crossfold.errors import CrossfoldError

_INSTALLED = {"site-packages", "dist-packages"}


def files_of_module(module: str, root_of: Callable[[str], Path | None]) -> list[Path]:
    """Return the file of a module, those of the packages around it, and those that it imports.

    Parameters
    ----------
    module
        Such as "my_lab.nets".
    root_of
        Of the name of a module, the folder of the package that it is in; None where its files are
        of no interest.

    Raises
    ------
    CrossfoldError
        If a file is no Python.
    """
    found: dict[Path, None] = {}
    _follow(module, root_of, found)
    return [*found]


def own_digests(targets: Iterable[str]) -> dict[str, list[str]]:
    """Return the SHA-256 of the files behind import paths, but those of installed packages.

    Parameters
    ----------
    targets
        Such as "my_lab.nets.MyNet". What is Crossfold's own is left out.
    """
    digests = {}
    for target in targets:
        files = files_of_module(target.rpartition(".")[0], _own_root)
        if files:
            digests[target] = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return digests


def file_of(root: Path, module: str) -> Path | None:
    """Return the file of a module in the package whose folder is `root`."""
    path = root.joinpath(*module.split(".")[1:])
    # A path without a name of its own is the package, or a module beside the Snakefile.
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def package_root(module: str) -> Path | None:
    """Return the folder of the package that a module is in; None where that has been installed.

    A module that is in no package has the folder that its package would have. Crossfold itself
    counts wherever it is.
    """
    top = module.partition(".")[0]
    spec = None if top in sys.stdlib_module_names else find_spec(top)
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    root = Path(next(iter(folders))) if folders else Path(spec.origin or top).with_suffix("")
    return root if top == "crossfold" or not _INSTALLED.intersection(root.parts) else None


def imported_names(file: Path, module: str) -> Iterator[str]:
    """Yield the names that a module imports: of modules, and of what could be modules in them.

    What only type checkers look at is left out.
    """
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in _nodes(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])]) if node.level else node.module
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def parsed(file: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Raises
    ------
    CrossfoldError
        If it is no Python.
    """
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        raise CrossfoldError(
            f"{file}: line {error.lineno}: {error.msg}", remedy="mend the file"
        ) from error


def _follow(module: str, root_of: Callable[[str], Path | None], found: dict[Path, None]) -> None:
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        root = root_of(name)
        file = root and file_of(root, name)
        if file and file not in found:
            found[file] = None
            for imported in imported_names(file, name):
                _follow(imported, root_of, found)


def _own_root(module: str) -> Path | None:
    return None if module.partition(".")[0] == "crossfold" else package_root(module)


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a module, but for what only type checkers look at."""
    yield node
    for child in ast.iter_child_nodes(node):
        checked_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        if not checked_only:
            yield from _nodes(child)
