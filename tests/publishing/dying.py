"""`crossfold` without Snakemake, in a process that is killed or cannot write at a chosen moment.

python -m tests.publishing.dying FOLDER MOMENT COMMAND …
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import dvc_objects.fs.local as local

from crossfold.__main__ import main
from crossfold.publishing import git, publish
from tests.publishing.toy import LARGE, without_snakemake


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_call(owner: Any, name: str) -> None:
    setattr(owner, name, lambda *_, **__: die())


def die_in_copy(place: str, number: int) -> None:
    """End the process when half of the nth file that is copied to a place is written."""
    copy, calls = local.copyfile, 0

    def dying(source: Any, target: Any, *rest: Any, **options: Any) -> None:
        nonlocal calls
        calls += place in os.fspath(target)
        if calls == number:
            content = Path(source).read_bytes()
            Path(target).write_bytes(content[: len(content) // 2])
            die()
        copy(source, target, *rest, **options)

    local.copyfile = dying


def be_slow() -> None:
    upload = publish.Storage.upload

    def slow(*arguments: Any, **options: Any) -> int:
        time.sleep(1)
        return upload(*arguments, **options)

    publish.Storage.upload = slow  # type: ignore[method-assign]


MOMENTS = {
    "none": lambda: None,
    "slow": be_slow,
    "full": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE // 2, LARGE // 2)),
    "before the report": lambda: die_in_call(publish, "make"),
    "before the provenance": lambda: die_in_call(publish, "record"),
    "while files enter the cache": lambda: die_in_copy("/.dvc/cache/", 4),
    "while objects are uploaded": lambda: die_in_copy("/demo/", 3),
    "before the commit": lambda: die_in_call(git, "commit"),
    "while objects are downloaded": lambda: die_in_copy("/.dvc/cache/", 3),
    "while files are put in place": lambda: die_in_copy("/results/", 3),
}

if __name__ == "__main__":
    folder, moment, *command = sys.argv[1:]
    without_snakemake(setattr)
    os.chdir(folder)
    MOMENTS[moment]()
    sys.exit(main(command))
