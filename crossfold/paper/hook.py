"""What a site wants done when everything of a model is made."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import traceback
from pathlib import Path

from crossfold.config.functions import load_object
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path

logger = logging.getLogger(__name__)
_KEY = "hooks.post_cross_validation"


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
    function = load_object(target, _KEY)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            function(json.loads(config.read_text(encoding="utf-8")), config.parent)
    except Exception as error:
        logger.info("printed before the error:\n%s", printed.getvalue())
        logger.info("%s", "".join(traceback.format_exception(error)))
        raise CrossfoldError(
            f"{_KEY}: {target}: {type(error).__name__}: {error}",
            remedy=f"mend it and call it again; all results in {config.parent} are there",
        ) from error
    with atomic_path(output) as temporary:
        temporary.write_text(printed.getvalue(), encoding="utf-8")
