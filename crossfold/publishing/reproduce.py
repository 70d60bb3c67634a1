"""Train a published model again from scratch, and compare what comes out with what is published."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from crossfold import paths
from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import Manifest, digests_of_model, read_manifest
from crossfold.publishing.git import git
from crossfold.workflow.running import make

TOLERANCE = 0.005
"""Largest difference of the mean Dice of a structure on another machine."""

Outcome = Literal["identical", "within tolerance", "different"]

_NOT_NEEDED = (".dvc", "results", "data", "demo", "tests", "docs")
_SUBJECT = ["split", "fold", "subject", "structure"]
# What these say of times is never the same; the rest of them is compared.
_TIMES = {Path(paths.TRAINING).name: ["seconds"]}
_ABOUT_THE_MACHINE = Path(paths.MACHINE).name


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came out.

    Parameters
    ----------
    folder
        Where everything was made again.
    identical, differing
        Files that were made again, with the same and with other bytes.
    table
        A row for each split and structure: mean Dice as published and here, their difference, and
        the largest difference of a subject.
    tolerance
        Largest difference of means that is accepted.
    """

    folder: Path
    identical: tuple[str, ...]
    differing: tuple[str, ...]
    table: pd.DataFrame
    tolerance: float

    @property
    def outcome(self) -> Outcome:
        """The verdict."""
        if not self.differing:
            return "identical"
        within = self.table["difference"].abs().le(self.tolerance).all() and not self.table.empty
        return "within tolerance" if within else "different"


def reproduce(
    name: str,
    folder: Path,
    *,
    root: Path = Path(),
    configfiles: Sequence[Path] = (Path("config.yaml"),),
    commit: str = "",
    cores: int = 1,
    tolerance: float = TOLERANCE,
) -> Reproduction:
    """Make the metrics of a published model again in an empty folder.

    A synthetic dataset is computed again; others are copied, after a check that they are those of
    the publication.

    Parameters
    ----------
    name
        A published model.
    folder
        An empty folder, or one that does not exist.
    root
        The checkout.
    configfiles
        The configuration, the strongest file last.
    commit
        Whose code to run; empty: the published one's.
    cores
        Number of cores.
    tolerance
        Largest difference of the mean Dice of a structure.

    Raises
    ------
    CrossfoldError
        If the folder is not empty, the code or the dataset of the publication is not here, its
        metrics were altered, or a job fails.
    """
    manifest = read_manifest(name, root)
    _require_empty(folder)
    _require_published_metrics(manifest, root)
    _export_code(manifest, commit, root, folder)
    configuration = [_in_folder(file, root, folder) for file in configfiles]
    _provide_dataset(manifest, configfiles, root, folder)
    targets = [paths.METRICS_SUMMARY.format(run=name)]
    make(
        targets,
        configfiles=configuration,
        root=folder,
        cores=cores,
        settings=["state_dir=.state"],  # a training of this model elsewhere must not be continued
        show=True,
    )
    return compare(manifest, root, folder, tolerance=tolerance)


def compare(
    manifest: Manifest, root: Path, folder: Path, *, tolerance: float = TOLERANCE
) -> Reproduction:
    """Compare what was made in another folder with what is published.

    Parameters
    ----------
    manifest
        What is published.
    root, folder
        The checkout, and the folder in which it was made again.
    tolerance
        Largest difference of the mean Dice of a structure.
    """
    with Digests(folder) as digests:
        found = digests_of_model(manifest.model, manifest.data["name"], digests)
    identical: list[str] = []
    differing: list[str] = []
    for path, entry in sorted(manifest.files.items()):
        if path not in found or Path(path).name == _ABOUT_THE_MACHINE:
            continue
        same = found[path] == entry.md5 or _same_but_for_times(root / path, folder / path)
        (identical if same else differing).append(path)
    metrics = paths.METRICS.format(run=manifest.model)
    return Reproduction(
        folder=folder,
        identical=tuple(identical),
        differing=tuple(differing),
        table=_compare_dice(pd.read_csv(root / metrics), pd.read_csv(folder / metrics)),
        tolerance=tolerance,
    )


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CrossfoldError(
            f"{folder} is not empty", remedy="delete it, or name another folder with --folder"
        )


def _require_published_metrics(manifest: Manifest, root: Path) -> None:
    path = paths.METRICS.format(run=manifest.model)
    with Digests(root) as digests:
        try:
            altered = digests.of(path) != manifest.files[path].md5
        except FileNotFoundError:
            altered = True
    if altered:
        raise CrossfoldError(
            f"{path} is not as published, so there is nothing to compare with",
            remedy=f"run `git checkout -- {path}`, or check out the commit that published it",
        )


def _export_code(manifest: Manifest, commit: str, root: Path, folder: Path) -> None:
    if manifest.dirty and not commit:
        raise CrossfoldError(
            f"{manifest.model} was published with uncommitted changes "
            f"({', '.join(manifest.uncommitted[:3])}): nobody has the code that made it",
            remedy="name a commit that should give the same with --commit",
        )
    commit = commit or manifest.commit
    git(root, "rev-parse", "--verify", f"{commit}^{{commit}}")
    excluded = [f":(exclude){name}" for name in _NOT_NEEDED]
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit, "--", ".", *excluded],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        raise CrossfoldError(f"git archive: {archive.stderr.decode().strip()}")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def _in_folder(file: Path, root: Path, folder: Path) -> Path:
    """Return a configuration file as that commit had it, or as it is outside of the checkout."""
    return file if not file.is_absolute() and (folder / file).is_file() else (root / file).resolve()


def _provide_dataset(
    manifest: Manifest, configfiles: Sequence[Path], root: Path, folder: Path
) -> None:
    name = manifest.data["name"]
    if _is_synthetic(name, configfiles, root):
        return
    images, table = paths.DATASET_IMAGES.format(dataset=name), paths.DATASET.format(dataset=name)
    with Digests(root) as digests:
        try:
            here = {"images": digests.of(images), "table": digests.of(table)}
        except FileNotFoundError as error:
            raise CrossfoldError(
                f"{error.filename or images}: the dataset is not here",
                remedy="pull it, or import it again",
            ) from error
    if any(here[part] != manifest.data[part] for part in here):
        raise CrossfoldError(
            f"data/{name} is not the dataset that {manifest.model} was made from",
            remedy=f"check out commit {manifest.commit[:10]}, and run `dvc checkout`",
        )
    shutil.copytree((root / images).parent, (folder / images).parent)


def _is_synthetic(name: str, configfiles: Sequence[Path], root: Path) -> bool:
    sources: list[Any] = []
    for file in configfiles:
        content = yaml.safe_load((root / file).read_text(encoding="utf-8")) or {}
        sources.append(((content.get("datasets") or {}).get(name) or {}).get("source"))
    named = [source for source in sources if source]
    return named[-1:] == ["phantom"]


def _same_but_for_times(published: Path, here: Path) -> bool:
    columns = _TIMES.get(here.name)
    if not columns or not published.is_file():
        return False
    tables = [pd.read_csv(file, dtype=str).drop(columns=columns) for file in (published, here)]
    return tables[0].equals(tables[1])


def _compare_dice(published: pd.DataFrame, here: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice by split and structure, out of fold and of the ensemble, side by side."""
    tables = [_headline_rows(frame).set_index(_SUBJECT)["dice"] for frame in (published, here)]
    both = pd.concat(tables, axis=1, keys=["published", "here"]).reset_index()
    both["largest_of_a_subject"] = (both["here"] - both["published"]).abs()
    groups = both.groupby(["split", "structure"], sort=False)
    table = groups[["published", "here"]].mean()
    # A subject that only one of them has is no difference that a mean could show.
    incomplete = groups[["published", "here"]].count().nunique(axis=1) > 1
    table["difference"] = (table["here"] - table["published"]).mask(incomplete, float("inf"))
    table["largest_of_a_subject"] = groups["largest_of_a_subject"].max()
    return table.reset_index()


def _headline_rows(metrics: pd.DataFrame) -> pd.DataFrame:
    is_ensemble = metrics["fold"].astype(str) == "ensemble"
    rows = metrics[(metrics["split"] == "val") | is_ensemble]
    return rows.astype({"fold": str, "subject": str})
