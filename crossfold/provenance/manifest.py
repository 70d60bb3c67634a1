"""What a published model consists of: the digest of every file, and what made it.

MANIFEST.json lies beside the results and is tracked in git. It does not list itself, nor
provenance.json, nor the report, which shows what `verify` finds.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from crossfold import paths
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_path
from crossfold.provenance.digests import Digests

Kept = Literal["git", "dvc", "left out"]
Kind = Literal["altered", "missing", "not published", "other commit", "other configuration"]

UNLISTED = frozenset(Path(name).name for name in (paths.MANIFEST, paths.PROVENANCE, paths.REPORT))
"""Names of files beside the manifest that it does not list."""

_FORMAT = 1
_EARLIER_MANIFESTS = 50


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published file.

    Parameters
    ----------
    md5
        Digest of its bytes.
    size
        Bytes.
    kept
        Where it is: a plain file in git, in the DVC remote, or left out of publishing.
    """

    md5: str
    size: int
    kept: Kept


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A published model.

    Parameters
    ----------
    model
        Its name.
    commit
        The commit that was checked out when it was published.
    uncommitted
        Files that differed from that commit; a result that was published so is marked as such.
    configuration
        The whole configuration of the model, its bases merged in.
    seeds
        Seeds of the dataset, where it is synthetic, the splits, the training and the statistics.
    data
        Name of the dataset, digests of its images (as DVC computes them) and of dataset.csv.
    lock
        Digest of every lock file of the software.
    software
        Versions of what computed the results.
    machines
        What trained each fold, by fold.
    directories
        Digest of every directory that DVC keeps, as DVC computes it.
    files
        Every file by its path from the root of the checkout.
    """

    model: str
    commit: str
    uncommitted: tuple[str, ...]
    configuration: Mapping[str, Any]
    seeds: Mapping[str, int]
    data: Mapping[str, str]
    lock: Mapping[str, str]
    software: Mapping[str, str]
    machines: Mapping[str, Mapping[str, Any]]
    directories: Mapping[str, str]
    files: Mapping[str, Entry]

    @property
    def dirty(self) -> bool:
        """Whether it was published with uncommitted changes."""
        return bool(self.uncommitted)

    def same_content(self, other: Manifest) -> bool:
        """Whether two manifests list the same results, made in the same way."""
        ours, theirs = (
            {
                key: value
                for key, value in asdict(manifest).items()
                if key not in ("commit", "uncommitted")
            }
            for manifest in (self, other)
        )
        return ours == theirs


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A file that is not as published.

    Parameters
    ----------
    path
        From the root of the checkout.
    kind
        altered, missing, not published (there is no such file in the manifest), or where its bytes
        came from: another published commit, or a run with another configuration.
    detail
        The commit, or the keys of the configuration.
    """

    path: str
    kind: Kind
    detail: str = ""

    def __str__(self) -> str:
        """Path and kind in one line."""
        return f"{self.path}: {self.kind}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check of all files against the manifest has found.

    Parameters
    ----------
    manifest
        What was published.
    checked
        Number of files whose digest was compared.
    differences
        Files that are not as published, sorted by path.
    """

    manifest: Manifest
    checked: int
    differences: tuple[Difference, ...] = field(default=())

    @property
    def as_published(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        commit = self.manifest.commit[:10] + (
            " with uncommitted changes" if self.manifest.dirty else ""
        )
        if self.as_published:
            return f"{self.manifest.model}: as published from {commit}, {self.checked} files"
        counts = Counter(one.kind for one in self.differences)
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        return f"{self.manifest.model}: NOT as published from {commit}: {found}"


def manifest_path(model: str, root: Path = Path()) -> Path:
    """Return where the manifest of a model lies."""
    return root / paths.MANIFEST.format(model=model)


def published_models(root: Path = Path()) -> list[str]:
    """Return the models that have a manifest."""
    return sorted(file.parent.name for file in root.glob(paths.MANIFEST.format(model="*")))


def write_manifest(manifest: Manifest, root: Path = Path()) -> Path:
    """Write a manifest beside the results of its model."""
    content = {"format": _FORMAT, **asdict(manifest)}
    with atomic_path(manifest_path(manifest.model, root)) as path:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return manifest_path(manifest.model, root)


def read_manifest(model: str, root: Path = Path()) -> Manifest:
    """Read the manifest of a model.

    Raises
    ------
    CrossfoldError
        If the model is not published, or the file is damaged.
    """
    path = manifest_path(model, root)
    try:
        return _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CrossfoldError(
            f"{path}: there is no such file, so {model} is not published here",
            remedy=f"run `make publish MODEL={model}`, or name a model of "
            f"{', '.join(published_models(root)) or 'a checkout that has a published one'}",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CrossfoldError(
            f"{path}: not readable as a manifest ({error})", remedy=f"run `git checkout -- {path}`"
        ) from error


def verify(manifest: Manifest, digests: Digests, root: Path = Path()) -> Verdict:
    """Compare every file with the manifest.

    What was left out of publishing may be missing, but must not differ. A file that differs is
    looked up in earlier manifests of the model, in git.

    Parameters
    ----------
    manifest
        What was published.
    digests
        Open, with the same root.
    root
        The checkout.
    """
    found = digests_of_model(manifest.model, manifest.data.get("name", ""), digests)
    differing = {path for path, entry in manifest.files.items() if found.get(path) != entry.md5}
    gone = differing - found.keys()
    kept = {path for path in gone if manifest.files[path].kept != "left out"}
    altered = sorted(differing & found.keys())
    differences = [Difference(path=path, kind="missing") for path in kept]
    differences += [
        Difference(path=path, kind="not published") for path in found.keys() - manifest.files.keys()
    ]
    if altered:
        keys = _changed_keys(manifest, root)
        earlier = list(_earlier(manifest, root))
        for path in altered:
            differences.append(_explained(path, found[path], keys, earlier))
    return Verdict(
        manifest=manifest,
        checked=len(manifest.files) - len(gone),
        differences=tuple(sorted(differences, key=lambda one: one.path)),
    )


def digests_of_model(model: str, dataset: str, digests: Digests) -> dict[str, str]:
    """Return the digests of all files that belong to a model, and of its dataset, by path."""
    folders = [paths.MODEL.format(model=model)]
    found = {}
    if dataset:
        folders.append(paths.DATASET_IMAGES.format(dataset=dataset))
        table = paths.DATASET.format(dataset=dataset)
        with contextlib.suppress(FileNotFoundError):
            found[table] = digests.of(table)
    for folder in folders:
        try:
            tree = digests.tree(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        found |= {
            f"{folder}/{name}": digest
            for name, digest in tree.items()
            if name not in UNLISTED and not Path(name).name.startswith(".")
        }
    return found


def _parse(text: str) -> Manifest:
    content = json.loads(text)
    if content.pop("format") != _FORMAT:
        raise ValueError("its format is that of another version of Crossfold")
    files = {path: Entry(**entry) for path, entry in content.pop("files").items()}
    return Manifest(files=files, uncommitted=tuple(content.pop("uncommitted")), **content)


def _explained(
    path: str, digest: str, keys: list[str], earlier: list[tuple[str, Manifest]]
) -> Difference:
    for commit, manifest in earlier:
        entry = manifest.files.get(path)
        if entry and entry.md5 == digest:
            return Difference(
                path=path, kind="other commit", detail=f"as published in {commit[:10]}"
            )
    if keys:
        return Difference(path=path, kind="other configuration", detail=", ".join(keys))
    return Difference(path=path, kind="altered")


def _changed_keys(manifest: Manifest, root: Path) -> list[str]:
    """Keys in which config.json beside the results differs from what was published."""
    try:
        text = (root / paths.CONFIG.format(model=manifest.model)).read_text(encoding="utf-8")
        here = json.loads(text)
    except (OSError, ValueError):
        return []
    published, here = _flat(manifest.configuration), _flat(here)
    keys = published.keys() | here.keys()
    absent = object()
    return sorted(key for key in keys if published.get(key, absent) != here.get(key, absent))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _earlier(manifest: Manifest, root: Path) -> Iterator[tuple[str, Manifest]]:
    """Yield the other manifests of a model that git has, the last first."""
    path = manifest_path(manifest.model).as_posix()
    commits = _git(root, "log", f"-{_EARLIER_MANIFESTS}", "--format=%H", "--", path).split()
    for commit in commits:
        try:
            other = _parse(_git(root, "show", f"{commit}:./{path}"))
        except (ValueError, KeyError, TypeError, AttributeError):  # deleted, or of another format
            continue
        if not other.same_content(manifest):
            yield commit, other


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine: nothing is known of other commits
        return ""
    return done.stdout
