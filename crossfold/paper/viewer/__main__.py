"""Serve the viewer: `python -m crossfold.paper.viewer results/<Model> [--port N]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from crossfold.errors import CrossfoldError
from crossfold.paper.viewer.server import make_server
from crossfold.paper.viewer.study import Study

DEFAULT_PORT = 8765


def main() -> None:
    """Serve until the user stops it."""
    parser = argparse.ArgumentParser(prog="python -m crossfold.paper.viewer", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a model, such as results/Prostate")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"{DEFAULT_PORT}; 0 takes any that is free"
    )
    arguments = parser.parse_args()
    try:
        study = Study.read(arguments.results)
        server = make_server(study, arguments.port)
    except CrossfoldError as error:
        sys.exit(f"Error: {error}")
    with server:
        print(
            f"{study.run}: {len(study.subjects)} subjects at http://127.0.0.1:{server.server_port}/"
        )
        print("Only this machine can open it. Stop it with Ctrl-C.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
