"""What the script of a rule does around its one call of the library."""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossfold.errors import CrossfoldError

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
