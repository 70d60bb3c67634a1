"""Publish a model: large files to the DVC remote, small ones to git, and a manifest of all.

The commit comes last. Before it, nobody else sees anything of what is published; whatever ends it
earlier, publishing again continues.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from crossfold import paths
from crossfold.config.models import ModelConfig
from crossfold.errors import CrossfoldError
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import (
    Entry,
    Manifest,
    digests_of_model,
    manifest_path,
    read_manifest,
    write_manifest,
)
from crossfold.publishing import git
from crossfold.publishing.contents import Contents, contents_of
from crossfold.publishing.locking import exclusive
from crossfold.publishing.stages import LOCK, PIPELINE, mend_lock, write_stage
from crossfold.publishing.storage import Storage, readable_disk_errors
from crossfold.workflow import record, version_of
from crossfold.workflow.running import make, planned_jobs

TARGET = "publish_{model}"
"""Snakemake's name for publishing a model."""

# Publishing renders the report itself, because it shows the manifest.
_MADE_BY_PUBLISHING = {"write_report"}
# Differences between them and the last commit do not count: publishing commits them, or they are
# the results of other models.
_NOT_CODE = ("results", "data", PIPELINE, LOCK)
_SOFTWARE = (
    *("crossfold", "torch", "monai", "numpy", "scipy", "nibabel", "pandas", "snakemake", "dvc"),
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """What publishing did.

    Parameters
    ----------
    manifest
        What is published now.
    uploaded
        Number of objects that the remote lacked.
    commit
        The new commit; None where git had all of it already.
    """

    manifest: Manifest
    uploaded: int
    commit: str | None


def publish(
    name: str,
    *,
    root: Path = Path(),
    configfiles: Sequence[Path] = (Path("config.yaml"),),
    allow_uncommitted: bool = False,
    remote: str = "",
    inside_a_job: bool = False,
) -> Published:
    """Publish a model whose files are all up to date.

    Parameters
    ----------
    name
        The model.
    root
        The checkout.
    configfiles
        Its configuration, the strongest file last.
    allow_uncommitted
        Publish in spite of uncommitted changes, and say so in the manifest.
    remote
        Name of the DVC remote; empty: the default one.
    inside_a_job
        Whether Snakemake has just made everything, and waits.

    Raises
    ------
    CrossfoldError
        If files are out of date, changes are uncommitted, credentials are in a tracked file, or
        git or DVC fail.
    """
    with readable_disk_errors(root), exclusive(root):
        return _publish(name, root, configfiles, allow_uncommitted, remote, inside_a_job)


def _publish(
    name: str,
    root: Path,
    configfiles: Sequence[Path],
    allow_uncommitted: bool,
    remote: str,
    inside_a_job: bool,
) -> Published:
    git.require_committer(root)
    with Storage(root) as storage:
        storage.refuse_tracked_credentials()
        embedded = storage.embedded_folder(remote)
    not_code = [*_NOT_CODE, *([embedded] if embedded else [])]
    changed = git.uncommitted(root, but=not_code, also=[root / file for file in configfiles])
    if changed and not allow_uncommitted:
        raise CrossfoldError(
            f"these changes are not committed: {_some(changed)}",
            remedy="commit them, so that others can have the code of what is published; or ask "
            "for it with --allow-uncommitted, and the manifest says so",
        )
    if not inside_a_job:
        _require_up_to_date(name, configfiles, root)
    mend_lock(root)
    model = _configuration(name, root)
    manifest = _write_new_manifest(name, model, changed, configfiles, root)
    report = paths.REPORT.format(run=name)
    make([report], configfiles=configfiles, root=root, inside_a_job=inside_a_job)
    record(name, root, inside_a_job=inside_a_job)
    contents = contents_of(name, model, root)
    with Storage(root) as storage:
        targets = [name]
        if contents.images:
            storage.add(contents.images)
            targets.append(f"{contents.images}.dvc")
        write_stage(name, model, contents, configfiles=configfiles, root=root)
        storage.commit(name)
        uploaded = storage.upload(targets, remote)
        objects = storage.embedded_objects(remote)
    files = [*_plain_files(name, manifest, contents, root), *objects]
    title = f"Publish {name}" + (", with uncommitted changes" if manifest.dirty else "")
    return Published(manifest=manifest, uploaded=uploaded, commit=git.commit(root, files, title))


def _require_up_to_date(name: str, configfiles: Sequence[Path], root: Path) -> None:
    target = TARGET.format(model=name)
    planned = planned_jobs([target], configfiles=configfiles, root=root)
    stale = sorted(planned.keys() - _MADE_BY_PUBLISHING - {target})
    if stale:
        raise CrossfoldError(
            f"results/{name} is not up to date: {_some(stale)} would run",
            remedy=f"run `snakemake --cores all {target}`, which makes everything and publishes it",
        )


def _configuration(name: str, root: Path) -> ModelConfig:
    path = root / paths.CONFIG.format(model=name)
    return ModelConfig.model_validate_json(path.read_text(encoding="utf-8"))


def _write_new_manifest(
    name: str,
    model: ModelConfig,
    changed: tuple[str, ...],
    configfiles: Sequence[Path],
    root: Path,
) -> Manifest:
    """Write the manifest, unless the one that is there says the same of another commit."""
    published = _published(name, root)
    if published:
        _require_pulled(published, model, root)
    manifest = _make_manifest(name, model, changed, configfiles, root)
    if published:
        manifest = _with_what_is_elsewhere(manifest, published, model)
        if published.same_content(manifest) and published.dirty <= manifest.dirty:
            return published
    write_manifest(manifest, root)
    return manifest


def _published(name: str, root: Path) -> Manifest | None:
    """Return the manifest that is there; None where there is none, or it is damaged."""
    if not manifest_path(name, root).is_file():
        return None
    try:
        return read_manifest(name, root)
    except CrossfoldError:
        return None


def _require_pulled(published: Manifest, model: ModelConfig, root: Path) -> None:
    """Refuse to publish without what others have and this checkout has not pulled."""
    for folder in published.directories:
        kept = {
            entry.kept for path, entry in published.files.items() if path.startswith(f"{folder}/")
        }
        fold = re.search(r"/folds/(\d+)/", folder)
        is_gone = fold and int(fold[1]) >= model.splits.folds
        if kept == {"dvc"} and not is_gone and not (root / folder).is_dir():
            raise CrossfoldError(
                f"{folder} is published and is not here",
                remedy=f"run `crossfold pull {published.model}`, and publish then",
            )


def _with_what_is_elsewhere(
    manifest: Manifest, published: Manifest, model: ModelConfig
) -> Manifest:
    """Add what was left out of publishing, and is only where the model was trained."""
    elsewhere = {
        path: entry
        for path, entry in published.files.items()
        if entry.kept == "left out" and path not in manifest.files
    }
    folders = {
        folder: digest
        for folder, digest in published.directories.items()
        if folder not in manifest.directories
        and any(path.startswith(f"{folder}/") for path in elsewhere)
    }
    same_data = manifest.data["name"] == published.data["name"] == model.dataset
    return replace(
        manifest,
        files=dict(sorted({**elsewhere, **manifest.files}.items())),
        directories=dict(sorted({**folders, **manifest.directories}.items())),
        data={**(published.data if same_data else {}), **manifest.data},
    )


def _make_manifest(
    name: str,
    model: ModelConfig,
    changed: tuple[str, ...],
    configfiles: Sequence[Path],
    root: Path,
) -> Manifest:
    contents = contents_of(name, model, root)
    with Digests(root) as digests:
        found = digests_of_model(name, model.dataset, digests)
        folders = [path for path in contents.directories if (root / path).is_dir()]
        directories = {path: digests.of(path) for path in sorted(folders)}
        images = paths.DATASET_IMAGES.format(dataset=model.dataset)
        data = {"images": digests.of(images)} if (root / images).is_dir() else {}
        locks = sorted((root / "locks").glob("*.txt"))
        lock = {f"locks/{file.name}": digests.of(f"locks/{file.name}") for file in locks}
    files = {
        path: Entry(md5=digest, size=(root / path).stat().st_size, kept=contents.kept(path))
        for path, digest in sorted(found.items())
    }
    table = files.get(paths.DATASET.format(dataset=model.dataset))
    data |= {"table": table.md5} if table else {}
    config_text = (root / paths.CONFIG.format(model=name)).read_text(encoding="utf-8")
    return Manifest(
        model=name,
        commit=git.head(root),
        uncommitted=changed,
        configuration=json.loads(config_text),
        seeds=_seeds(model, configfiles, root),
        data={"name": model.dataset, **data},
        lock=lock,
        software={"python": platform.python_version()}
        | {package: version_of(package) for package in _SOFTWARE},
        machines=_machines(name, model, root),
        directories=directories,
        files=files,
    )


def _seeds(model: ModelConfig, configfiles: Sequence[Path], root: Path) -> dict[str, int]:
    seeds = {"splits": model.splits.seed, "training": model.training.seed}
    for file in configfiles:
        content = yaml.safe_load((root / file).read_text(encoding="utf-8")) or {}
        sections = {
            "dataset": (content.get("datasets") or {}).get(model.dataset),
            "statistics": content.get("statistics"),
        }
        seeds |= {
            name: section["seed"]
            for name, section in sections.items()
            if isinstance(section, dict) and "seed" in section
        }
    return seeds


def _machines(name: str, model: ModelConfig, root: Path) -> dict[str, dict[str, Any]]:
    machines = {}
    for fold in range(model.splits.folds):
        path = root / paths.MACHINE.format(model=name, fold=fold)
        if path.is_file():
            machines[str(fold)] = json.loads(path.read_text(encoding="utf-8"))
    return machines


def _plain_files(name: str, manifest: Manifest, contents: Contents, root: Path) -> list[str]:
    """Return what git has of a published model, also what it had and is no more."""
    files = [path for path, entry in manifest.files.items() if entry.kept == "git"]
    files += [paths.MANIFEST.format(model=name), paths.PROVENANCE.format(model=name)]
    files += [PIPELINE, LOCK]
    if contents.images:
        folder = Path(contents.images).parent.as_posix()
        beside = (f"{contents.images}.dvc", f"{folder}/source.json", f"{folder}/.gitignore")
        files += [path for path in beside if (root / path).is_file()]
    before = git.tracked(root, paths.MODEL.format(model=name))
    return files + [path for path in before if not (root / path).exists()]


def _some(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
