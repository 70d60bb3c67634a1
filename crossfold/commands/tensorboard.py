"""TensorBoard in a process of its own, for this machine alone."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from crossfold.errors import CrossfoldError

HOST = "127.0.0.1"
UPDATE_EVERY_S = 30.0
_START_PATIENCE_S = 120.0
_STOP_PATIENCE_S = 10.0


def free_port(port: int) -> int:
    """Return the port, or any that is free for 0.

    Raises
    ------
    CrossfoldError
        If somebody else listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise CrossfoldError(
                f"--port {port}: not free ({error})", remedy="choose another; 0 takes any"
            ) from error
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the event files below a folder at http://127.0.0.1:<port>; ready when entered.

    Raises
    ------
    CrossfoldError
        If TensorBoard does not start.
    """
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    command += ["--host", HOST, "--port", str(port), "--reload_interval", "5"]
    log = folder / "tensorboard.log"
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches us alone, and we end it.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(process, port, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def keep_updating(process: subprocess.Popen[bytes], update: Callable[[], None]) -> None:
    """Call `update` now and then until the process ends or the user presses Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            try:
                process.wait(UPDATE_EVERY_S)
                return
            except subprocess.TimeoutExpired:
                update()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            opener.open(f"http://{HOST}:{port}/", timeout=10).close()
            return
        time.sleep(0.2)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise CrossfoldError(
        f"TensorBoard did not start: {said[-1] if said else 'it said nothing'}",
        remedy=f"read {log}",
    )
