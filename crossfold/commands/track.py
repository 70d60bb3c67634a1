"""`crossfold track`: put a dataset under DVC and commit what stands for it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `crossfold`."""
    parser = commands.add_parser("track", help="put an imported dataset under DVC and git")
    parser.add_argument("dataset", metavar="DATASET", help="name of the dataset in config.yaml")
    parser.set_defaults(run=_track)


def _track(parsed: Namespace) -> None:
    from crossfold.publishing.tracking import track_dataset

    tracked = track_dataset(parsed.dataset)
    what = f"{parsed.dataset}: {tracked.files} files, {tracked.size_bytes / 1e6:.1f} MB"
    print(f"{what}, {tracked.digest}")
    if tracked.commit is None:
        print("Tracked already, nothing to commit.")
        return
    print(f"Committed {tracked.commit[:10]}. Next:")
    print(f"  dvc push {tracked.pointer}")
    print(f"  git tag {parsed.dataset}-v1   # a name for `dataset: {{name: …, rev: …}}`")
    print("  git push origin HEAD --tags")
