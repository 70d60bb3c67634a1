"""The only module that knows Snakemake: logs, errors, fingerprints and closing words of a run."""

from __future__ import annotations

import ast
import atexit
import contextlib
import functools
import hashlib
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossfold import paths
from crossfold.errors import CrossfoldError

PACKAGE = Path(__file__).parent


STARTED = time.time()
ERROR = f" {logging.getLevelName(logging.ERROR)} "

logger = logging.getLogger("crossfold")


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script: what it does goes to the log file of its rule.

    An error ends the job. The last record of the log is what `say_what_failed` tells the user: the
    message of an error that the user can mend, the kind of any other, its traceback before it.
    """
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=log,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        encoding="utf-8",
        force=True,
    )
    logging.captureWarnings(True)
    logger.info("crossfold %s, Python %s", version_of("crossfold"), platform.python_version())
    whose = ", ".join(f"{name} {value}" for name, value in snakemake.wildcards.items())
    try:
        yield
    except CrossfoldError as error:
        logger.error("in %s of %s: %s", snakemake.rule, whose, error)
        sys.exit(1)
    except Exception as error:
        logger.exception("traceback")
        message = f"{type(error).__name__}: {error}\n  Traceback: {log}"
        logger.error("in %s of %s: %s", snakemake.rule, whose, message)
        sys.exit(1)


def files_of(inputs: Any) -> dict[str, Path | list[Path]]:
    """Return the named inputs of a job as paths, and lists of paths; empty ones left out."""
    return {
        name: Path(given) if isinstance(given, str) else [Path(file) for file in given]
        for name, given in inputs.items()
        if given
    }


def version_of(package: str) -> str:
    """Return the version of an installed package, or of this checkout."""
    if package == "crossfold":
        from crossfold import __version__

        return __version__
    return version(package)


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


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """End with the message of an error of the configuration, where Snakemake adds a traceback."""
    try:
        yield
    except CrossfoldError as error:
        sys.exit(f"\nError in the configuration: {error}\n")


def configuration_files(workflow: Any) -> list[Path]:
    """Return the configuration files of a run, the strongest last."""
    overlays = [Path(file).resolve() for file in workflow.config_settings.configfiles]
    files = [Path(file).resolve() for file in workflow.configfiles]
    files = [file for file in files if file not in overlays] + overlays
    return [Path(os.path.relpath(file)) for file in dict.fromkeys(files)]


def say_what_failed(logs: Path = Path("logs")) -> None:
    """Print the errors of this run, once and after all that Snakemake has to say."""
    failed = [file for file in logs.rglob("*.log") if file.stat().st_mtime >= STARTED]
    texts = (file.read_text(encoding="utf-8") for file in sorted(failed))
    errors = dict.fromkeys(text.rpartition(ERROR)[2].strip() for text in texts if ERROR in text)
    text = "".join(f"\nError {error}\n" for error in errors)
    atexit.register(print, text, file=sys.stderr)


def say_what_was_made(workflow: Any) -> None:
    """Print the files that the user asked for."""
    made: list[str] = []
    for target in workflow.dag.targetjobs:
        made += [str(file) for file in (target.output or target.input)]
    made = sorted(file for file in set(made) if Path(file).exists())
    print("\nMade:\n" + "\n".join(f"  {file}" for file in made))
    tables = [file for file in made if Path(file).name == Path(paths.ENSEMBLE_METRICS).name]
    if tables:
        print(f"\nShow the metrics: python -m crossfold.paper.tables {' '.join(tables)}")
