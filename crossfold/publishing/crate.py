"""A published model as an RO-Crate: one folder or ZIP file with all that an archive asks for.

The crate follows RO-Crate 1.1 and Process Run Crate 0.5, which Zenodo and others read.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from crossfold import paths
from crossfold.errors import CrossfoldError
from crossfold.images import atomic_directory, atomic_path
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import Manifest, manifest_path, read_manifest, verify
from crossfold.provenance.pointers import without_password
from crossfold.publishing.git import git
from crossfold.workflow.provenance import read_provenance

CITATION = "CITATION.cff"
_NEEDED = ("title", "authors", "version", "license")
_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_SPDX = "https://spdx.org/licenses/"
_SHOWN = 5
# What the standard library does not know.
_FORMATS = {
    ".cff": "application/yaml",
    ".gz": "application/gzip",
    ".md": "text/markdown",
    ".safetensors": "application/octet-stream",
    ".tex": "application/x-tex",
}


@dataclass(frozen=True, kw_only=True)
class Crate:
    """What was exported.

    Parameters
    ----------
    path
        Folder or ZIP file.
    files
        Number of files in it, without its own description.
    left_out
        Number of published files that are not in it: images of patients, and what was left out of
        publishing already.
    """

    path: Path
    files: int
    left_out: int


def write_crate(
    model: str,
    target: Path,
    *,
    root: Path = Path(),
    configfiles: Sequence[Path] = (Path("config.yaml"),),
    with_images: bool = False,
) -> Crate:
    """Export a published model as it was published.

    Parameters
    ----------
    model
        Name of the model.
    target
        A folder that does not exist yet, or a file `.zip`; appears whole or not at all.
    root
        The checkout.
    configfiles
        Its configuration, which describes the dataset; the strongest file last.
    with_images
        Put the images of the dataset, and preprocessed copies of them, in as well: only where
        their licence, and the patients, allow it.

    Raises
    ------
    CrossfoldError
        If the model is not published, its files are not as published, the target exists or
        CITATION.cff lacks what an archive asks for.
    """
    if target.exists():
        raise CrossfoldError(f"{target} exists", remedy="name another, or remove it")
    manifest = read_manifest(model, root)
    _require_as_published(manifest, root)
    citation = _citation(root)
    files = list(_files(manifest, root, with_images=with_images))
    crate = _describe(manifest, citation, files, _dataset(manifest, configfiles, root), root)
    if target.suffix == ".zip":
        with atomic_path(target) as temporary:
            crate.write_zip(temporary)
    else:
        with atomic_directory(target) as temporary:
            crate.write(temporary)
    return Crate(path=target, files=len(files), left_out=len(manifest.files.keys() - {*files}))


def _require_as_published(manifest: Manifest, root: Path) -> None:
    with Digests(root) as digests:
        verdict = verify(manifest, digests, root)
    if not verdict.as_published:
        shown = "".join(f"\n  {one}" for one in verdict.differences[:_SHOWN])
        raise CrossfoldError(
            f"{verdict.summary}{shown}",
            remedy=f"run `make pull`, or publish what is here with `make publish "
            f"MODEL={manifest.model}`",
        )


def _citation(root: Path) -> dict[str, Any]:
    try:
        citation = yaml.safe_load((root / CITATION).read_text(encoding="utf-8"))
        missing = [key for key in _NEEDED if not citation.get(key)]
    except (OSError, AttributeError, yaml.YAMLError) as error:
        raise CrossfoldError(
            f"{root / CITATION}: not readable ({error})", remedy="restore it from git"
        ) from error
    if missing:
        raise CrossfoldError(
            f"{root / CITATION}: {', '.join(missing)} missing",
            remedy="add what an archive asks for",
        )
    return dict(citation)


def _files(manifest: Manifest, root: Path, *, with_images: bool) -> Iterator[str]:
    """Yield the files of the crate by their path in the checkout, which is that in the crate."""
    images = [
        paths.DATASET_IMAGES.format(dataset=manifest.data["name"]),
        paths.PREPROCESSED.format(model=manifest.model),
    ]
    model = manifest.model
    beside = (
        *(CITATION, "LICENSE", *manifest.lock),
        *(paths.MANIFEST.format(model=model), paths.PROVENANCE.format(model=model)),
        paths.REPORT.format(run=model),
    )
    for path in [*beside, *manifest.files]:
        is_image = any(path.startswith(f"{folder}/") for folder in images)
        if (root / path).is_file() and (with_images or not is_image):
            yield path


def _dataset(manifest: Manifest, configfiles: Sequence[Path], root: Path) -> dict[str, Any]:
    """Return the section of the dataset, which is also that of its revisions."""
    name = manifest.data["name"].partition("@")[0]
    section: dict[str, Any] = {}
    for file in configfiles:
        content = yaml.safe_load((root / file).read_text(encoding="utf-8")) or {}
        section |= (content.get("datasets") or {}).get(name) or {}
    return section


def _describe(
    manifest: Manifest,
    citation: Mapping[str, Any],
    files: Sequence[str],
    dataset: Mapping[str, Any],
    root: Path,
) -> Any:
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    description = manifest.configuration.get("description") or "A segmentation model"
    crate.name = f"{manifest.model}: {description.rstrip('.')}"
    crate.description = (
        f"{description.rstrip('.')}. Cross-validated and evaluated by Crossfold "
        f"{citation['version']} on the dataset {manifest.data['name']}, at commit "
        f"{manifest.commit}{' with uncommitted changes' if manifest.dirty else ''}."
    )
    crate.datePublished = _published(manifest, root)
    crate.keywords = citation.get("keywords", [])
    crate.root_dataset["version"] = str(citation["version"])
    crate.license = _add(
        crate, f"{_SPDX}{citation['license']}", "CreativeWork", name=citation["license"]
    )
    home = _homepage(root)
    authors = [
        _author(crate, one, f"#author-{number}", home)
        for number, one in enumerate(citation["authors"], start=1)
    ]
    crate.root_dataset["author"] = _alone(authors)
    crate.publisher = authors[0]
    crate.root_dataset["conformsTo"] = _add(
        crate, _PROFILE, "CreativeWork", name="Process Run Crate", version="0.5"
    )
    data = [_add_file(crate, path, manifest, root) for path in files]
    images = _add(
        crate,
        "#dataset",
        "Dataset",
        name=manifest.data["name"],
        description=dataset.get("description") or f"The dataset {manifest.data['name']}",
        identifier=f"md5:{manifest.data['images']}",
        license=dataset.get("licence") or "not stated",
    )
    crate.root_dataset["mentions"] = _add_action(crate, manifest, images, data, authors, root)
    return crate


def _add_action(
    crate: Any,
    manifest: Manifest,
    dataset: Any,
    results: Sequence[Any],
    agents: Sequence[Any],
    root: Path,
) -> Any:
    """Say what made the results, from what, when and with which software."""
    instruments = [
        _add(
            crate,
            _address_of(package, number, root),
            "SoftwareApplication",
            name=package,
            version=number,
            url=_address_of(package, number, root),
        )
        for package, number in manifest.software.items()
    ]
    crossfold = next(one for one in instruments if one["name"] == "crossfold")
    crossfold["softwareRequirements"] = [one for one in instruments if one is not crossfold]
    begun, ended = _times(manifest, root)
    return crate.add_action(
        crossfold,
        identifier=f"#{manifest.model}",
        object=dataset,
        result=list(results),
        properties={
            "name": f"Training and evaluation of {manifest.model}",
            "description": f"Snakemake workflow of Crossfold at commit {manifest.commit}",
            "agent": _alone([{"@id": agent.id} for agent in agents]),
            "startTime": begun,
            "endTime": ended,
        },
    )


def _add_file(crate: Any, path: str, manifest: Manifest, root: Path) -> Any:
    suffix = Path(path).suffix
    kind = _FORMATS.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"
    entry = manifest.files.get(path)
    properties = {
        "name": path,
        "encodingFormat": kind,
        "contentSize": str((root / path).stat().st_size),
    }
    if entry:
        properties["identifier"] = f"md5:{entry.md5}"
    return crate.add_file(root / path, dest_path=path, properties=properties)


def _author(crate: Any, author: Mapping[str, Any], name_here: str, home: str) -> Any:
    """Add a person or, without a family name, an entity of CITATION.cff."""
    if "family-names" not in author:
        url = author.get("website") or home
        more = {"url": url} if url else {}
        address = author.get("website") or name_here
        return _add(crate, address, "Organization", name=author["name"], **more)
    names = {"givenName": author.get("given-names", ""), "familyName": author["family-names"]}
    more = {"affiliation": author["affiliation"]} if "affiliation" in author else {}
    name = " ".join(filter(None, names.values()))
    return _add(crate, author.get("orcid") or name_here, "Person", name=name, **names, **more)


def _add(crate: Any, address: str, kind: str, **properties: Any) -> Any:
    from rocrate.model.contextentity import ContextEntity

    entity = ContextEntity(crate, address, properties={"@type": kind, **properties})
    return crate.add(entity)


def _published(manifest: Manifest, root: Path) -> str:
    """Return when the manifest, or else what it was made from, was committed."""
    file = manifest_path(manifest.model).as_posix()
    when = git(root, "log", "-1", "--format=%cI", "--", file).strip()
    return when or git(root, "log", "-1", "--format=%cI", manifest.commit).strip()


def _alone(entities: Sequence[Any]) -> Any:
    """Return the only one by itself, as RO-Crate wants it."""
    return entities[0] if len(entities) == 1 else list(entities)


def _address_of(package: str, number: str, root: Path) -> str:
    """Return what a program is known by: its page, and a name where it has none."""
    if package == "crossfold":
        return _homepage(root) or f"urn:crossfold:{number}"
    if package == "python":
        return f"https://www.python.org/downloads/release/python-{number.replace('.', '')}/"
    return f"https://pypi.org/project/{package}/{number.partition('+')[0]}/"


def _homepage(root: Path) -> str:
    """Return the address of the repository for a browser; empty if git knows none."""
    try:
        address = git(root, "remote", "get-url", "origin").strip()
    except CrossfoldError:
        return ""
    return without_password(address) if address.startswith("http") else ""


def _times(manifest: Manifest, root: Path) -> tuple[str, str]:
    """Return when the first of the recorded jobs began, and when the last ended."""
    jobs = read_provenance(manifest.model, root)
    begun = min(job.started for job in jobs)
    ended = max(seconds for job in jobs for seconds in job.ended.values())
    first, last = (datetime.fromtimestamp(seconds, UTC) for seconds in (begun, ended))
    return first.isoformat(timespec="seconds"), last.isoformat(timespec="seconds")
