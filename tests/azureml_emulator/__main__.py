"""Serve until interrupted: `python -m azureml_emulator`; prints what leads the SDKs to it."""

from __future__ import annotations

import argparse
import shlex
import signal
import tempfile
from pathlib import Path
from types import FrameType

from azureml_emulator.azurite import Azurite
from azureml_emulator.emulator import Emulator


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="azureml_emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the API (default: a free one)")
    parser.add_argument("--folder", type=Path, help="for its files (default: a temporary one)")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds in each waiting state")
    options = parser.parse_args()
    # A temporary folder, the jobs and Azurite shall not outlive a polite kill.
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="azureml-emulator-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        azurite = Azurite()
        try:
            with Emulator(azurite, folder, pace_s=options.pace, port=options.port) as emulator:
                for name, value in emulator.environment.items():
                    print(f"export {name}={shlex.quote(value)}")
                print(f"# requests: {emulator.requests_file}; Ctrl-C ends it", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            azurite.stop()


def _interrupt(_signal_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
