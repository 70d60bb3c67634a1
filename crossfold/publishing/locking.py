"""One publishing or pulling at a time in a checkout."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LOCK = Path(".dvc/tmp/publishing.lock")


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Wait until nobody else publishes or pulls in this checkout, and keep others waiting.

    The lock is the kernel's: it is gone with the process that holds it, however that ends.
    """
    path = root / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            print(f"Waiting for {holder}, which publishes or pulls here.", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
