"""The only module that knows Snakemake: logs, errors, fingerprints and closing words of a run."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossfold import paths
from crossfold.errors import CrossfoldError

PACKAGE = Path(__file__).parent

# Raised by hand when training would give other weights for the same configuration. A fingerprint of
# the modules would retrain every model after the edit of a comment.
TRAINING_VERSION = 1

logger = logging.getLogger("crossfold")


@contextlib.contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script: its log goes to the rule's log file, its errors to the user as well.

    An error that the user can mend is shown as a message; of any other the traceback goes to the
    log and the last line to the terminal.
    """
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=log,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    logging.captureWarnings(True)
    logger.info("crossfold %s, Python %s", version_of("crossfold"), platform.python_version())
    try:
        yield
    except CrossfoldError as error:
        logger.error("%s", error)
        _stop(f"Error in {snakemake.rule}: {error}")
    except OSError as error:
        logger.error("%s", traceback.format_exc())
        _stop(f"Error in {snakemake.rule}: {error}\n  Details: {log}")
    except Exception as error:
        logger.error("%s", traceback.format_exc())
        _stop(f"Error in {snakemake.rule}: {type(error).__name__}: {error}\n  Traceback: {log}")


def _stop(message: str) -> None:
    print(f"\n{message}\n", file=sys.stderr, flush=True)
    sys.exit(1)


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
        Files or folders below crossfold/, such as "data/splits.py".
    """
    digest = hashlib.sha256()
    for module in modules:
        path = PACKAGE / module
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            digest.update(file.relative_to(PACKAGE).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def readable_errors() -> Iterator[None]:
    """Turn an error of the configuration into a message without a traceback."""
    from snakemake.exceptions import WorkflowError

    try:
        yield
    except CrossfoldError as error:
        raise WorkflowError(str(error)) from None


def configuration_files(workflow: Any) -> list[Path]:
    """Return the configuration files of a run, the strongest last."""
    files = [*workflow.configfiles, *workflow.config_settings.configfiles]
    return [Path(os.path.relpath(file)) for file in dict.fromkeys(files)]


def say_what_was_made(workflow: Any) -> None:
    """Print the files that the user asked for, and the metrics among them as a table."""
    from crossfold.paper.tables import print_metrics

    made: list[str] = []
    for target in workflow.dag.targetjobs:
        made += [str(file) for file in (target.output or target.input)]
    made = sorted(file for file in set(made) if Path(file).exists())
    for file in made:
        if Path(file).name == Path(paths.ENSEMBLE_METRICS).name:
            print_metrics(Path(file))
    print("\nMade:\n" + "\n".join(f"  {file}" for file in made))
