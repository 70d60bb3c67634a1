"""What a site wants done when everything of a model is made."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossfold.config.functions import load_object
from crossfold.config.hooks import Hook
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

logger = logging.getLogger(__name__)


def call_hook(target: str, config: Path, output: Path) -> None:
    """Call a function as `function(config, folder)`, and keep what it prints.

    Parameters
    ----------
    target
        Its import path.
    config
        config.json of a model; the function is given what it says, and the folder that it is in.
    output
        Text file for what the function prints.

    Raises
    ------
    CrossfoldError
        If it cannot be imported, or ends with an error; the results of the model are untouched.
    """
    content = json.loads(config.read_text(encoding="utf-8"))
    folder = config.parent
    keep_what_is_printed(
        "post_cross_validation",
        target,
        (content, folder),
        output,
        unharmed=f"all results in {folder} are there",
    )


def keep_what_is_printed(
    kind: Hook, target: str, arguments: Sequence[Any], output: Path, *, unharmed: str
) -> None:
    """Call a function of a site, and keep what it prints.

    Parameters
    ----------
    kind, target
        Which hook, and the import path of the function.
    arguments
        What it is called with.
    output
        Text file for what it prints.
    unharmed
        What is there although the function ended with an error.

    Raises
    ------
    CrossfoldError
        If it cannot be imported, or ends with an error.
    """
    key = f"hooks.{kind}"
    function = load_object(target, key)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            function(*arguments)
    except Exception as error:
        logger.info("printed before the error:\n%s", printed.getvalue())
        logger.info("%s", "".join(traceback.format_exception(error)))
        raise CrossfoldError(
            f"{key}: {target}: {type(error).__name__}: {error}",
            remedy=f"mend it and call it again; {unharmed}",
        ) from error
    with atomic_path(output) as temporary:
        temporary.write_text(printed.getvalue(), encoding="utf-8")
