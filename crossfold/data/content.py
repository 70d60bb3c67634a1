"""Which images a result was made from, by the name that DVC gives them."""

from __future__ import annotations

import json
from pathlib import Path

from crossfold.images import atomic_path
from crossfold.provenance.digests import Digests


def write_content(path: Path, *, dataset: str, csv: Path, images: Path) -> None:
    """Write the digests of a dataset.

    Parameters
    ----------
    path
        Target, `.json`.
    dataset
        Name of the dataset.
    csv, images
        Its dataset.csv and the folder of its images, below the working directory.
    """
    with Digests() as digests:
        content = {
            "dataset": dataset,
            "images": digests.of(images),
            "files": len(digests.tree(images)),
            "dataset_csv": digests.of(csv),
        }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
