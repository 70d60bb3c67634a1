"""A dataset put under DVC: its images in DVC's cache, and what stands for them in git."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import yaml

from crossfold import paths
from crossfold.errors import CrossfoldError
from crossfold.publishing.git import commit, git, require_committer
from crossfold.publishing.locking import exclusive
from crossfold.publishing.storage import Storage

_DIGITS = 10
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A dataset under DVC.

    Parameters
    ----------
    digest
        DVC's name of its images, `<md5>.dir`.
    files, size_bytes
        Number of images and their size.
    commit
        The commit that was made; None where everything was tracked already.
    pointer
        The file in git that stands for the images.
    """

    digest: str
    files: int
    size_bytes: int
    commit: str | None
    pointer: str


def track_dataset(name: str, root: Path = Path()) -> Tracked:
    """Put the images of a dataset under DVC, and commit what stands for them.

    The commit holds the pointer to the images, dataset.csv and source.json, and nothing else.

    Parameters
    ----------
    name
        Name of the dataset.
    root
        The checkout.

    Raises
    ------
    CrossfoldError
        If the dataset is not imported or consists of links, the checkout has no git or no DVC, or
        something else is staged in git. Nothing is changed then.
    """
    images = paths.DATASET_IMAGES.format(dataset=name)
    kept = [
        f"{images}.dvc",
        paths.DATASET.format(dataset=name),
        paths.DATASET_SOURCE.format(dataset=name),
    ]
    _check_dataset(name, root)
    _check_index(root, kept)
    with Storage(root) as storage, exclusive(root):
        # What to do next is said by the command, not by DVC.
        logging.getLogger("dvc").setLevel(logging.WARNING)
        storage.add(images)
        entry = yaml.safe_load((root / kept[0]).read_text(encoding="utf-8"))["outs"][0]
        made = commit(root, kept, f"Track dataset {name} ({entry['md5'][:_DIGITS]})")
    return Tracked(
        digest=entry["md5"],
        files=entry["nfiles"],
        size_bytes=entry["size"],
        commit=made,
        pointer=kept[0],
    )


def _check_dataset(name: str, root: Path) -> None:
    if "@" in name:
        known, _, revision = name.partition("@")
        raise CrossfoldError(
            f"{name} is what revision {revision} of {known} has: it is tracked already",
            remedy=f"change {known}, then `make track DATASET={known}`",
        )
    table, images = paths.DATASET.format(dataset=name), paths.DATASET_IMAGES.format(dataset=name)
    for needed in (table, images):
        if not (root / needed).exists():
            raise CrossfoldError(
                f"{root / needed}: not there, so {name} is not imported",
                remedy=f"snakemake --cores all {table}",
            )
    linked = next((file for file in (root / images).rglob("*") if file.is_symlink()), None)
    if linked:
        raise CrossfoldError(
            f"{linked} is a link: DVC would replace it by a copy",
            remedy=f"set `link: false` in datasets.{name} of config.yaml, and import it again",
        )


def _check_index(root: Path, kept: list[str]) -> None:
    require_committer(root)
    staged = git(root, "diff", "--cached", "--name-only", "-z", "--relative").split("\0")
    others = [file for file in staged if file and file not in kept]
    if others:
        shown = ", ".join(others[:_SHOWN]) + (" and others" if len(others) > _SHOWN else "")
        raise CrossfoldError(
            f"git has other staged changes: {shown}",
            remedy="commit them, or take them back with `git restore --staged .`",
        )
