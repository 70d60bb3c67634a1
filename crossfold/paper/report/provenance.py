"""Whether the results are those that were published, and what they were published with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossfold import paths
from crossfold.paper.words import counted
from crossfold.provenance.digests import Digests
from crossfold.provenance.manifest import Manifest, Verdict, read_manifest, verify

# Of one kind; all are in what `make verify` prints.
SHOWN_FILES = 30


@dataclass(frozen=True, kw_only=True)
class Differing:
    """Files that differ from what was published, all in the same way.

    Parameters
    ----------
    kind, detail
        What differs.
    files
        The first of them.
    more
        Number of files beyond those.
    """

    kind: str
    detail: str
    files: tuple[str, ...]
    more: int


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the page says about publishing.

    Parameters
    ----------
    label, kind
        The verdict in two or three words, and whether it is good, bad or neither.
    sentence
        The verdict in one sentence.
    differences
        Files that are not as published, by what differs.
    details
        Pairs of a heading and what the published results were made from.
    """

    label: str
    kind: str
    sentence: str
    differences: tuple[Differing, ...] = ()
    details: tuple[tuple[str, str], ...] = ()


def provenance_of(manifest: Path | None) -> Provenance:
    """Compare every file of a model with its manifest.

    Parameters
    ----------
    manifest
        MANIFEST.json as it lies in results/; None where there is none.

    Raises
    ------
    CrossfoldError
        If the manifest is damaged.
    """
    if manifest is None:
        return Provenance(
            label="not published",
            kind="unknown",
            sentence="These results are not published: no manifest says which files belong to "
            "them, and no commit vouches for them.",
        )
    root = manifest.parents[2]
    published = read_manifest(manifest.parent.name, root)
    with Digests(root) as digests:
        verdict = verify(published, digests, root)
    return Provenance(
        label="as published" if verdict.as_published else "not as published",
        kind="good" if verdict.as_published else "bad",
        sentence=_sentence(verdict),
        differences=tuple(_by_kind(verdict)),
        details=tuple(_details(published)),
    )


def _sentence(verdict: Verdict) -> str:
    files = counted(verdict.checked, "file")
    if verdict.as_published:
        absent = len(verdict.manifest.files) - verdict.checked
        here = f" {absent} more were left out of publishing, and are not here." if absent else ""
        return f"When this page was written, {files} had the bytes that were published.{here}"
    return (
        f"When this page was written, {counted(len(verdict.differences), 'file')} differed from "
        f"what was published; {files} were compared."
    )


def _by_kind(verdict: Verdict) -> Iterator[Differing]:
    groups: dict[tuple[str, str], list[str]] = {}
    folder = f"{paths.MODEL.format(model=verdict.manifest.model)}/"
    for one in verdict.differences:
        groups.setdefault((one.kind, one.detail), []).append(one.path.removeprefix(folder))
    for (kind, detail), files in sorted(groups.items()):
        yield Differing(
            kind=kind,
            detail=detail,
            files=tuple(files[:SHOWN_FILES]),
            more=max(0, len(files) - SHOWN_FILES),
        )


def _details(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "Commit", manifest.commit
    if manifest.uncommitted:
        yield "Uncommitted", f"changes of {', '.join(manifest.uncommitted)}"
    data = manifest.data
    yield "Data", f"{data['name']}: images {data['images']}, dataset.csv {data['table']}"
    for file, digest in manifest.lock.items():
        yield "Lock", f"{file} {digest}"
    yield "Seeds", ", ".join(f"{name} {seed}" for name, seed in manifest.seeds.items())
